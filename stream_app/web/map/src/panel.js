// The side panel: figures, and lists whose rows stay where they are while their texts change.
import {ago, axes, duration, frequency, latitude, length, longitude, number, percent} from './format.js';
import {AT, BORDER, DISTRUSTED, emitters, store} from './store.js';
import {versionColour} from './theme.js';

const $ = (id) => document.getElementById(id);

function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

// One row a key, in order; `fill` gets the row's element. Rows are kept, so that the focus stays.
function rows(list, items, keyOf, make, fill, none) {
  const known = new Map([...list.children].map((row) => [row.dataset.key, row]));
  items.forEach((item, n) => {
    const key = String(keyOf(item));
    let row = known.get(key);
    if (!row) {
      row = make();
      row.dataset.key = key;
    }
    known.delete(key);
    fill(row, item);
    if (list.children[n] !== row) list.insertBefore(row, list.children[n] ?? null);
  });
  for (const row of known.values()) row.remove();
  if (items.length === 0 && none) {
    const row = document.createElement('li');
    row.className = 'none';
    row.dataset.key = 'none';
    row.textContent = none;
    list.append(row);
  }
}

function plainRow(...classes) {
  const row = document.createElement('li');
  for (const name of classes) {
    const part = document.createElement('span');
    part.className = name;
    row.append(part);
  }
  return row;
}

function swatch(element, version) {
  element.style.setProperty('--c', versionColour(version));
}

function fillVersions(stats) {
  const models = new Set(stats.versions.map(([model]) => model)).size;
  rows($('versions'), stats.versions.map((pair, index) => ({pair, index, share: stats.shares[index] ?? 0})), ({index}) => index,
    () => plainRow('swatch', 'name', 'bar', 'value'), (row, {pair, index, share}) => {
      const [mark, name, bar, value] = row.children;
      swatch(mark, index);
      swatch(bar, index);
      bar.style.setProperty('--share', share);
      text(name, models > 1 ? `${pair[0]} ${pair[1]}` : `Version ${pair[1]}`);
      text(value, percent(share));
    }, 'No fix yet');
}

function emitterRow(onChoose) {
  const row = document.createElement('li'), button = document.createElement('button');
  button.append(...plainRow('swatch', 'name', 'value', 'sub').children);
  button.addEventListener('click', () => onChoose(Number(row.dataset.number)));
  row.append(button);
  return row;
}

export function fillEmitters(view, chosen, onChoose) {
  rows($('emitters'), emitters(view.fixes), ([key]) => key, () => emitterRow(onChoose), (row, [, fix]) => {
    const [mark, name, value, sub] = row.firstChild.children;
    row.dataset.number = fix[AT.number];
    row.classList.toggle('chosen', fix[AT.number] === chosen?.[AT.number]);
    swatch(mark, fix[AT.version]);
    text(name, frequency(fix[AT.hz]));
    text(value, `± ${axes(fix[AT.major], fix[AT.minor])}`);
    const notes = [fix[AT.flags] & BORDER ? 'on the border' : '', fix[AT.flags] & DISTRUSTED ? 'a clock is off' : ''].filter(Boolean);
    text(sub, [`${latitude(fix[AT.lat], 4)} ${longitude(fix[AT.lon], 4)}`, ...notes, ago(view.at - fix[AT.ms])].join(' · '));
  }, 'No fix in this time');
}

function fillWorkers(workers) {
  rows($('workers'), workers, ({name}) => name, () => plainRow('dot', 'name', 'value', 'sub'), (row, one) => {
    const [mark, name, value, sub] = row.children;
    mark.dataset.level = one.gone ? 'ALERT' : one.state === 'REFUSED' ? 'WATCH' : one.state === 'APPLIED' ? 'OK' : 'WAITING';
    text(name, one.name);
    text(value, one.gone ? 'gone' : one.state.toLowerCase());
    const versions = one.versions.map((v) => `${v.mode === 'SHADOW' ? 'shadow ' : ''}${v.version}${one.versions.length > 1 ? ` (${v.weight})` : ''}${v.suspended ? ' suspended' : ''}`);
    text(sub, [`${one.model} ${versions.join(', ') || 'none'}`, `seen ${ago(one.silent_s * 1e3)}`, one.reason].filter(Boolean).join(' · '));
  }, 'No sign of life on model.status');
}

function fillBeacons(beacons) {
  $('beacons').parentElement.hidden = beacons.length === 0;
  rows($('beacons'), beacons, ({network, name}) => `${network}/${name}`, () => plainRow('dot', 'name', 'value', 'sub'), (row, one) => {
    const [mark, name, value, sub] = row.children;
    mark.dataset.level = one.level;
    text(name, one.name);
    text(value, one.level === 'WAITING' ? 'waiting' : `${percent(one.share_95)} in 95 %`);
    const bias = Math.hypot(one.bias_east_m, one.bias_north_m);
    text(sub, `${one.level.toLowerCase()} · ${percent(one.share_68)} in 68 % · bias ${length(bias)} · RMS ${length(one.rms_m)} · ${number(one.fixes)} fixes`);
  });
}

function fillClocks(clocks) {
  $('clocks').parentElement.hidden = clocks.length === 0;
  rows($('clocks'), clocks, ({network, receiver_id}) => `${network}/${receiver_id}`, () => plainRow('dot', 'name', 'value'), (row, one) => {
    const [mark, name, value] = row.children;
    mark.dataset.level = one.distrusted ? 'ALERT' : 'OK';
    text(name, one.receiver_id);
    text(value, `${one.offset_ns >= 0 ? '+' : '−'}${number(Math.abs(one.offset_ns))} ± ${number(one.sigma_ns)} ns${one.distrusted ? ', distrusted' : ''}`);
  });
}

function fillLetters(letters) {
  rows($('letters'), Object.entries(letters), ([code]) => code, () => plainRow('dot', 'name', 'value'), (row, [code, count]) => {
    const [mark, name, value] = row.children;
    mark.dataset.level = 'WATCH';
    text(name, code);
    text(value, number(count));
  }, 'None since this map was started');
}

const pair = (found) => found ? `${duration(found[0])} · ${duration(found[1])}` : '–';

export function fillPanel() {
  const {stats} = store;
  if (!stats) return;
  text($('rate'), number(stats.rate, stats.rate < 100 ? 1 : 0));
  text($('latency'), stats.replay ? 'replayed' : pair(stats.latency));
  $('latency').title = stats.replay ? 'The captures are older than an hour: a recording or a simulation' : 'Half of the fixes, 95 % of them';
  text($('worker-ms'), pair(stats.worker));
  text($('cache'), stats.cache === null ? '–' : percent(stats.cache));
  text($('lag'), stats.lag === null ? '–' : number(stats.lag));
  $('missed').hidden = store.missed === 0;
  text($('missed'), `${number(store.missed)} fixes were left out here: this page could not keep up, the newest went first`);
  $('problem').hidden = stats.problem === '';
  text($('problem'), stats.problem);
  fillVersions(stats);
  fillBeacons(stats.beacons);
  fillWorkers(stats.workers);
  fillClocks(stats.clocks);
  fillLetters(stats.letters);
}
