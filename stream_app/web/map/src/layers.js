// Sources and layers of the map, and what is drawn into them.
import {destination, graticule, outline} from './geo.js';
import {AT, BORDER} from './store.js';
import {theme, versionColour} from './theme.js';

const EMPTY = {type: 'FeatureCollection', features: []};
const ELLIPSES = 400;  // the newest; more would be a blur
const ELLIPSE_MS = 30e3, COURSE_S = 60;

const source = (data = EMPTY) => ({type: 'geojson', data, tolerance: 0, buffer: 32});

export function style(base, tiles, credit) {
  const raster = tiles ? [{id: 'tiles', type: 'raster', source: 'tiles'}] : [];
  return {
    version: 8,
    sources: {
      base: {type: 'geojson', data: base, tolerance: 0.3},
      ...(tiles ? {tiles: {type: 'raster', tiles: [tiles], tileSize: 256, attribution: credit}} : {}),
      grid: source(), network: source(), dots: source(), ellipses: source(), tracks: source(), chosen: source(),
    },
    layers: [
      {id: 'sea', type: 'background'},
      {id: 'land', type: 'fill', source: 'base', filter: ['==', ['get', 'kind'], 'land']},
      ...raster,
      {id: 'border', type: 'line', source: 'base', filter: ['==', ['get', 'kind'], 'border'],
        paint: {'line-dasharray': [3, 2], 'line-opacity': ['interpolate', ['linear'], ['zoom'], 7, 0.9, 11, 0.35]}},
      {id: 'coast', type: 'line', source: 'base', filter: ['==', ['get', 'kind'], 'land']},
      {id: 'grid', type: 'line', source: 'grid', paint: {'line-width': 1}},
      {id: 'area', type: 'line', source: 'network', filter: ['==', ['get', 'kind'], 'area'],
        paint: {'line-width': 1.2, 'line-dasharray': [4, 4], 'line-opacity': 0.7}},
      {id: 'baseline', type: 'line', source: 'network', filter: ['==', ['get', 'kind'], 'baseline'],
        paint: {'line-width': 1, 'line-opacity': 0.7}},
      {id: 'ellipse-fill', type: 'fill', source: 'ellipses',
        paint: {'fill-color': ['get', 'c'], 'fill-opacity': ['*', ['get', 'o'], 0.16], 'fill-antialias': false}},
      {id: 'dots', type: 'circle', source: 'dots',
        paint: {'circle-color': ['get', 'c'], 'circle-opacity': ['get', 'o'], 'circle-radius': ['get', 'r']}},
      {id: 'ellipse', type: 'line', source: 'ellipses',
        paint: {'line-color': ['get', 'c'], 'line-opacity': ['get', 'o'], 'line-width': ['get', 'w']}},
      {id: 'track-halo', type: 'line', source: 'tracks', filter: ['==', ['get', 'kind'], 'way'],
        layout: {'line-cap': 'round', 'line-join': 'round'}, paint: {'line-width': 5, 'line-opacity': 0.6}},
      {id: 'track', type: 'line', source: 'tracks', filter: ['in', ['get', 'kind'], ['literal', ['way', 'course', 'ring']]],
        layout: {'line-cap': 'round', 'line-join': 'round'},
        paint: {'line-color': ['get', 'c'], 'line-width': ['match', ['get', 'kind'], 'course', 2.5, 'ring', 1.2, 2], 'line-opacity': ['get', 'o']}},
      {id: 'track-head', type: 'circle', source: 'tracks', filter: ['==', ['get', 'kind'], 'head'],
        paint: {'circle-radius': 5, 'circle-color': ['get', 'c'], 'circle-stroke-width': 2}},
      {id: 'chosen-fill', type: 'fill', source: 'chosen', paint: {'fill-color': ['get', 'c'], 'fill-opacity': 0.25}},
      {id: 'chosen', type: 'line', source: 'chosen', paint: {'line-width': 3}},
    ],
  };
}

export function paint(map) {
  const {colours} = theme;
  const set = (layer, property, value) => map.getLayer(layer) && map.setPaintProperty(layer, property, value);
  set('sea', 'background-color', colours.sea);
  set('land', 'fill-color', colours.land);
  for (const layer of ['border', 'coast']) set(layer, 'line-color', colours.border);
  set('grid', 'line-color', colours.grid);
  set('area', 'line-color', colours.area);
  set('baseline', 'line-color', colours.baseline);
  set('track-halo', 'line-color', colours.halo);
  set('track-head', 'circle-stroke-color', colours.halo);
  set('chosen', 'line-color', colours.ink);
}

const feature = (type, coordinates, properties) => ({type: 'Feature', properties, geometry: {type, coordinates}});
const put = (map, name, features) => map.getSource(name)?.setData({type: 'FeatureCollection', features});

export const ring = (fix, vertices) => outline(fix[AT.lat], fix[AT.lon], fix[AT.major], fix[AT.minor], fix[AT.direction], vertices);

// Fixes as dots that fade; the newest with their ellipses, the newest of each emitter in full.
export function drawFixes(map, {at, fixes}, trailMs) {
  const dots = [], ellipses = [], seen = new Set();
  const fade = Math.min(trailMs, ELLIPSE_MS);
  for (let n = fixes.length - 1; n >= 0; n--) {
    const fix = fixes[n], age = Math.max(0, at - fix[AT.ms]);
    const emitter = `${fix[AT.network]}/${fix[AT.hz]}`, first = !seen.has(emitter);
    seen.add(emitter);
    const c = versionColour(fix[AT.version]), id = fix[AT.number];
    const left = 1 - age / trailMs;
    const o = first ? 1 : Math.max(0.08, Math.round(left * left * 14) / 20);
    dots.push(feature('Point', [fix[AT.lon], fix[AT.lat]], {id, c, o, r: first ? 4 : 2}));
    const young = 1 - age / fade;
    if (first || (young > 0.05 && ellipses.length < ELLIPSES)) {
      const strong = first ? 1 : Math.round(young * young * 11) / 20;
      const kind = fix[AT.flags] & BORDER ? 'border' : 'fix';
      ellipses.push(feature('Polygon', [ring(fix)], {id, c, kind, o: Math.max(0.04, strong), w: first ? 2 : 1}));
    }
  }
  put(map, 'dots', dots.reverse());
  put(map, 'ellipses', ellipses.reverse());
}

export function drawTracks(map, tracks) {
  const features = [];
  for (const track of tracks) {
    const head = track.points.at(-1);
    // Lines of one colour, as a split between versions would make them flicker; the head has the newest fix's version.
    const c = theme.colours.ink, dot = track.version === null ? c : versionColour(track.version);
    const o = track.state === 'CONFIRMED' ? 0.9 : 0.45;
    const name = {track: track.id, c, o};
    if (track.points.length > 1) features.push(feature('LineString', track.points, {...name, kind: 'way'}));
    const [major, minor, direction] = track.axes;
    features.push(feature('LineString', outline(head[1], head[0], major, minor, direction), {...name, kind: 'ring', o: o / 2}));
    if (track.course !== null) {
      const tip = destination(head[1], head[0], track.course[0], track.speed[0] * COURSE_S);
      const barb = (turn) => destination(tip[1], tip[0], track.course[0] + turn, track.speed[0] * COURSE_S * 0.18);
      features.push(feature('LineString', [head, tip, barb(155), tip, barb(-155)], {...name, kind: 'course'}));
    }
    features.push(feature('Point', head, {...name, c: dot, kind: 'head'}));
  }
  put(map, 'tracks', features);
}

export function drawNetworks(map, networks) {
  const features = [];
  for (const {area: [west, south, east, north], receivers} of networks) {
    features.push(feature('LineString', [[west, south], [east, south], [east, north], [west, north], [west, south]], {kind: 'area'}));
    receivers.forEach((a, n) => receivers.slice(n + 1).forEach((b) =>
      features.push(feature('LineString', [[a.lon, a.lat], [b.lon, b.lat]], {kind: 'baseline'}))));
  }
  put(map, 'network', features);
}

export function drawChosen(map, fix) {
  put(map, 'chosen', fix ? [feature('Polygon', [ring(fix, 96)], {id: fix[AT.number], c: versionColour(fix[AT.version])})] : []);
}

// Lines, and their degrees at the edges of the page.
export function drawGraticule(map, labels) {
  const bounds = map.getBounds();
  const found = graticule({west: bounds.getWest(), south: bounds.getSouth(), east: bounds.getEast(), north: bounds.getNorth()});
  put(map, 'grid', [found.lines]);
  const centre = map.getCenter(), {clientWidth: width, clientHeight: height} = map.getContainer();
  const at = (text, x, y, side) => {
    const label = document.createElement('span');
    label.textContent = text;
    label.className = side;
    label.style.transform = `translate(${Math.round(x)}px, ${Math.round(y)}px)`;
    return label;
  };
  labels.replaceChildren(
    ...found.meridians.map(([degrees, text]) => at(text, map.project([degrees, centre.lat]).x, 0, 'top')).filter((one, n) => {
      const x = map.project([found.meridians[n][0], centre.lat]).x;
      return x > 250 && x < width - 20;
    }),
    ...found.parallels.map(([degrees, text]) => [map.project([centre.lng, degrees]).y, text])
      .filter(([y]) => y > 70 && y < height - 90).map(([y, text]) => at(text, 0, y, 'left')),
  );
}
