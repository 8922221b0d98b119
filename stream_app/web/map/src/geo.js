// Ellipses on the earth, and the lines of a graticule.
const A = 6378137, E2 = 0.00669437999014;
const RAD = Math.PI / 180;

// [longitude, latitude] that far from a point; the longitude may pass 180, as MapLibre wants it. Degrees and metres.
// A great circle on the sphere, of a step that the ellipsoid's radii of curvature turn into angles: within 0.2 % of the
// geodesic for ellipses of some 100 km.
export function destination(lat, lon, azimuthDeg, metres) {
  const phi = lat * RAD, w = 1 - E2 * Math.sin(phi) ** 2;
  const north = metres * Math.cos(azimuthDeg * RAD) * w ** 1.5 / (A * (1 - E2));
  const east = metres * Math.sin(azimuthDeg * RAD) * Math.sqrt(w) / A;
  const arc = Math.hypot(north, east), azimuth = Math.atan2(east, north);
  const sin = Math.sin(phi) * Math.cos(arc) + Math.cos(phi) * Math.sin(arc) * Math.cos(azimuth);
  const turn = Math.atan2(Math.sin(azimuth) * Math.sin(arc) * Math.cos(phi), Math.cos(arc) - Math.sin(phi) * sin);
  return [lon + turn / RAD, Math.asin(Math.max(-1, Math.min(1, sin))) / RAD];
}

// The closed ring of an ellipse; the direction of its major axis is clockwise from north.
export function outline(lat, lon, major, minor, direction, vertices = 40) {
  const ring = [];
  for (let n = 0; n < vertices; n++) {
    const turn = (2 * Math.PI * n) / vertices;
    const along = Math.min(major, 5e6) * Math.cos(turn), across = Math.min(minor, 5e6) * Math.sin(turn);
    ring.push(destination(lat, lon, direction - Math.atan2(across, along) / RAD, Math.hypot(along, across)));
  }
  ring.push(ring[0]);
  return ring;
}

const STEPS = [30, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001];

// Degrees between the lines of a graticule that shows some five of them.
export function graticuleStep(degrees) {
  return STEPS.find((step) => degrees / step >= 4) ?? STEPS.at(-1);
}

const places = (step) => Math.max(0, Math.ceil(-Math.log10(step) - 1e-9));

// Meridians and parallels of a view: {lines: GeoJSON, meridians, parallels: [[degrees, text]]}.
export function graticule({west, south, east, north}) {
  const step = graticuleStep(Math.min(east - west, (north - south) * 1.8));
  const meridians = [], parallels = [], lines = [];
  const low = Math.max(-85, south), high = Math.min(85, north);
  for (let n = Math.ceil(west / step); n * step <= east; n++) {
    const turned = ((n * step + 540) % 360) - 180;
    meridians.push([n * step, `${Math.abs(turned).toFixed(places(step))}°${turned < 0 ? 'W' : 'E'}`]);
    lines.push([[n * step, low - step], [n * step, high + step]]);
  }
  for (let n = Math.ceil(low / step); n * step <= high; n++) {
    parallels.push([n * step, `${Math.abs(n * step).toFixed(places(step))}°${n < 0 ? 'S' : 'N'}`]);
    lines.push([[west - step, n * step], [east + step, n * step]]);
  }
  return {
    lines: {type: 'Feature', properties: {}, geometry: {type: 'MultiLineString', coordinates: lines}},
    meridians, parallels,
  };
}
