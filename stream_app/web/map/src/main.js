// The page: what comes is stored at once, and drawn when there is time, ten times a second at most.
import {Map as MapLibre, ScaleControl, LngLatBounds, setWorkerUrl} from 'maplibre-gl';
import 'maplibre-gl/dist/maplibre-gl.css';
import './style.css';
import {hideDetail, showDetail} from './detail.js';
import {follow} from './feed.js';
import {ring, drawChosen, drawFixes, drawGraticule, drawNetworks, drawTracks, paint, style} from './layers.js';
import {Marks} from './marks.js';
import {fillEmitters, fillPanel} from './panel.js';
import {AT, store, view} from './store.js';
import {onTheme, startTheme, toggleTheme} from './theme.js';
import {Timeline} from './timeline.js';
import {readConfig} from './token.js';

const $ = (id) => document.getElementById(id);
const DRAW_MS = 100, PANEL_MS = 500, NARROW = '(max-width: 760px)';
const trailMs = () => Number($('trail').value) * 1e3;

startTheme();
setWorkerUrl(new URL(`map/${WORKER_FILE}`, location.href).href);
const config = await readConfig();
const map = new MapLibre({
  container: 'map', style: style(new URL(`map/${BASE_FILE}`, location.href).href, config.tiles, config.credit),
  center: [9, 48], zoom: 3, maxZoom: 19, attributionControl: false, dragRotate: false, pitchWithRotate: false,
  touchPitch: false, fadeDuration: 0, renderWorldCopies: true,
});
map.touchZoomRotate.disableRotation();
map.keyboard.disableRotation();
map.addControl(new ScaleControl({maxWidth: 120}), 'bottom-left');
const marks = new Marks(map);
const timeline = new Timeline(trailMs, drawSoon);
let chosen = null, ready = false, fitted = false, due = false, drawnAt = 0, cost = 0, panelAt = 0;

// --- drawing

function drawSoon() {
  if (due || !ready) return;
  due = true;
  // A slow machine draws less often, and so keeps up.
  setTimeout(() => requestAnimationFrame(draw), Math.max(DRAW_MS, 3 * cost) - (performance.now() - drawnAt));
}

function draw() {
  const begun = performance.now();
  due = false;
  drawnAt = begun;
  const seen = view(trailMs());
  drawFixes(map, seen, trailMs());
  drawTracks(map, seen.tracks);
  marks.follow(seen.tracks);
  if (begun - panelAt > PANEL_MS || store.past) {
    panelAt = begun;
    fillEmitters(seen, chosen, choose);
  }
  if (!fitted && config.networks.length === 0 && seen.fixes.length > 0) fit();
  cost = performance.now() - begun;
  document.body.dataset.newest = seen.fixes.at(-1)?.[AT.number] ?? 0;
}

function onNews() {
  fillPanel();
  if (store.stats) marks.level(store.stats.beacons, store.stats.clocks);
  if (!store.past) drawSoon();
}

setInterval(() => {
  timeline.show();
  timeline.draw();
  drawSoon();  // trails fade without news, too
}, 1000);

// --- fixes

function byNumber(number) {
  return view(Infinity).fixes.find((fix) => fix[AT.number] === number) ?? null;
}

function choose(number) {
  const fix = byNumber(number);
  if (!fix) return;
  chosen = fix;
  drawChosen(map, fix);
  void showDetail(fix);
  drawSoon();
}

function close() {
  if (chosen === null) return;
  chosen = null;
  drawChosen(map, null);
  hideDetail();
}

// The one before or after of the same emitter, or the newest of all.
function step(by) {
  const {fixes} = view(Infinity);
  const same = chosen ? fixes.filter((fix) => fix[AT.hz] === chosen[AT.hz] && fix[AT.network] === chosen[AT.network]) : fixes;
  const at = chosen ? same.findIndex((fix) => fix[AT.number] === chosen[AT.number]) : same.length - by;
  const next = same[at + by];
  if (next) choose(next[AT.number]);
}

function zoomToChosen() {
  if (!chosen) return;
  const bounds = new LngLatBounds();
  for (const place of ring(chosen)) bounds.extend(place);
  map.fitBounds(bounds, {padding: room(narrow() ? 60 : 100), maxZoom: 16, duration: 600});
}

// What is under the pointer: dots first, as ellipses cover them.
function pick({point: {x, y}}) {
  for (const [layers, slack] of [[['dots'], 6], [['ellipse'], 4], [['ellipse-fill'], 0]]) {
    const found = map.queryRenderedFeatures([[x - slack, y - slack], [x + slack, y + slack]], {layers});
    if (found.length > 0) return Math.max(...found.map((one) => one.properties.id));
  }
  return null;
}

// --- view

const narrow = () => matchMedia(NARROW).matches;
const panelOpen = () => !document.body.classList.contains('panel-closed');

function room(side) {
  const right = !narrow() && panelOpen() ? $('panel').offsetWidth + 24 : 0;
  const left = !narrow() && chosen ? $('detail').offsetWidth + 12 : 0;
  const below = narrow() && chosen ? $('detail').offsetHeight : 0;
  return {top: side, bottom: side + 60 + below, left: side + left, right: side / 2 + right};
}

function fit() {
  const bounds = new LngLatBounds();
  for (const {area: [west, south, east, north], receivers} of config.networks) {
    bounds.extend([west, south]).extend([east, north]);
    for (const one of receivers) bounds.extend([one.lon, one.lat]);
  }
  if (bounds.isEmpty()) for (const fix of view(Infinity).fixes) bounds.extend([fix[AT.lon], fix[AT.lat]]);
  if (bounds.isEmpty()) return;
  map.fitBounds(bounds, {padding: room(narrow() ? 30 : 70), maxZoom: 14, duration: fitted ? 500 : 0});
  fitted = true;
}

function togglePanel(open = !panelOpen()) {
  document.body.classList.toggle('panel-closed', !open);
  $('panel').inert = !open;
  $('panel-toggle').setAttribute('aria-expanded', String(open));
}

function onState(open) {
  const state = $('state');
  state.dataset.state = open ? 'open' : 'wait';
  state.lastElementChild.textContent = open ? 'Connected' : 'Reconnecting';
}

// --- wiring

map.on('load', () => {
  ready = true;
  paint(map);
  drawNetworks(map, config.networks);
  marks.addNetworks(config.networks);
  fit();
  drawGraticule(map, $('graticule'));
  drawSoon();
});
map.on('move', () => ready && drawGraticule(map, $('graticule')));
map.on('resize', () => ready && drawGraticule(map, $('graticule')));
map.on('click', (event) => {
  const number = pick(event);
  if (number === null) close();
  else choose(number);
});
map.on('mousemove', (event) => {
  map.getCanvas().style.cursor = pick(event) === null ? '' : 'pointer';
});
onTheme(() => {
  if (!ready) return;
  paint(map);
  drawSoon();
  drawChosen(map, chosen);
  fillPanel();
  timeline.draw();
});
togglePanel(!narrow());
$('credit').textContent = config.credit ?? '';

const KEYS = {
  l: () => timeline.live(),
  ',': () => timeline.step(-10),
  '.': () => timeline.step(10),
  '[': () => step(-1),
  ']': () => step(1),
  z: zoomToChosen,
  f: fit,
  t: toggleTheme,
  p: () => togglePanel(),
  e: () => {
    togglePanel(true);
    ($('emitters').querySelector('button') ?? $('emitters')).focus();
  },
  '?': () => $('help').showModal(),
  Escape: close,
};
document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $('help').open || event.target.matches('select')) return;
  const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (act) {
    event.preventDefault();
    act();
  }
});
for (const [id, act] of [
  ['zoom-in', () => map.zoomIn()], ['zoom-out', () => map.zoomOut()], ['fit', fit], ['theme', toggleTheme],
  ['help-open', () => $('help').showModal()], ['panel-toggle', () => togglePanel()],
  ['detail-close', close], ['detail-older', () => step(-1)], ['detail-newer', () => step(1)], ['detail-zoom', zoomToChosen],
]) $(id).addEventListener('click', act);
$('trail').addEventListener('change', () => {
  void timeline.ask();
  drawSoon();
});
document.querySelector('.skip').addEventListener('click', (event) => {
  event.preventDefault();
  KEYS.e();
});

window.fixstream = {map, store, ring};  // for the console, and for tests
follow('map/events', onState, onNews);
