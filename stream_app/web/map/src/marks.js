// Receivers, beacons and tracks that have a name: HTML, so that no font has to be fetched.
import {Marker} from 'maplibre-gl';
import {number} from './format.js';

function element(kind, name, title) {
  const mark = document.createElement('div');
  mark.className = `mark ${kind}`;
  const sign = document.createElement('i'), label = document.createElement('span');
  label.textContent = name;
  mark.append(sign, label);
  mark.title = title;
  return mark;
}

export class Marks {
  constructor(map) {
    this.map = map;
    this.byId = new Map();
    this.tracks = new Map();
  }

  addNetworks(networks) {
    for (const network of networks) {
      for (const one of network.receivers) {
        this.place(`${network.name}/${one.id}`, element('receiver', one.id, `Receiver ${one.id} of ${network.name}, ${number(one.alt)} m`), one);
      }
      for (const one of network.beacons) {
        this.place(`${network.name}//${one.name}`, element('beacon', one.name, `Beacon ${one.name} of ${network.name}`), one);
      }
    }
  }

  place(id, mark, {lon, lat}) {
    this.byId.set(id, mark);
    new Marker({element: mark, anchor: 'left', offset: [-9, 0]}).setLngLat([lon, lat]).addTo(this.map);
  }

  // Beacons' levels and receivers' clocks, as the workers see them.
  level(beacons, clocks) {
    for (const one of beacons) this.byId.get(`${one.network}//${one.name}`)?.setAttribute('data-level', one.level);
    for (const one of clocks) this.byId.get(`${one.network}/${one.receiver_id}`)?.setAttribute('data-distrusted', one.distrusted);
  }

  follow(tracks) {
    const gone = new Set(this.tracks.keys());
    for (const track of tracks) {
      gone.delete(track.id);
      let found = this.tracks.get(track.id);
      if (!found) {
        found = new Marker({element: element('track', '', ''), anchor: 'left', offset: [6, -14]}).setLngLat([0, 0]);
        this.tracks.set(track.id, found);
        found.setLngLat(track.points.at(-1)).addTo(this.map);
      }
      const speed = `${number(track.speed[0], 1)} m/s`;
      const text = track.course === null ? 'stands' : `${speed} · ${String(Math.round(track.course[0]) % 360).padStart(3, '0')}°`;
      const label = found.getElement().lastChild;
      if (label.textContent !== text) label.textContent = text;
      found.getElement().title = `Track ${track.id}, ${track.state.toLowerCase()}, of ${track.fixes} fixes`;
      found.setLngLat(track.points.at(-1));
    }
    for (const id of gone) {
      this.tracks.get(id).remove();
      this.tracks.delete(id);
    }
  }
}
