// Everything about one fix.
import {duration, frequency, latitude, length, longitude, number, utc} from './format.js';
import {AT, store} from './store.js';

const $ = (id) => document.getElementById(id);

const CACHE = {
  MISS: 'no: inferred', EXACT: 'the same bytes were answered before', FEATURES: 'the same features were',
  BATCH: 'equal to another of its batch', DISABLED: 'no cache',
};

function section(title, entries) {
  const part = document.createElement('section'), heading = document.createElement('h3'), list = document.createElement('dl');
  heading.textContent = title;
  for (const [name, value, warn] of entries) {
    const row = document.createElement('div'), term = document.createElement('dt'), said = document.createElement('dd');
    term.textContent = name;
    if (value instanceof Node) said.append(value);
    else said.textContent = value;
    if (warn) said.className = 'warn';
    row.append(term, said);
    list.append(row);
  }
  part.append(heading, list);
  return part;
}

// The stages of a fix on one line, each as long as it took.
function stages({queue_ms: queue, features_ms: features, inference_ms: inference, total_ms: total}) {
  const bar = document.createElement('div');
  bar.className = 'stages';
  bar.setAttribute('role', 'img');
  bar.setAttribute('aria-label', `queue ${duration(queue)}, features ${duration(features)}, inference ${duration(inference)}`);
  for (const [name, ms] of [['queue', queue], ['features', features], ['inference', inference]]) {
    const part = document.createElement('i');
    part.className = name;
    part.title = `${name} ${duration(ms)}`;
    part.style.flexGrow = Math.max(ms / Math.max(total, 1e-6), 0.005);
    bar.append(part);
  }
  return bar;
}

function raw(record) {
  const box = document.createElement('details'), title = document.createElement('summary'), text = document.createElement('pre');
  title.textContent = 'The record';
  text.tabIndex = 0;
  text.textContent = JSON.stringify(record, null, 1);
  box.append(title, text);
  return box;
}

function receivers(record) {
  if (record.receivers.length === 0) return [['Used', 'not stated']];
  const list = document.createElement('ul');
  list.className = 'chips';
  for (const id of record.receivers) {
    const chip = document.createElement('li');
    chip.textContent = id;
    if (record.distrusted.includes(id)) {
      chip.className = 'warn';
      chip.textContent = `${id}: clock is off, weight lowered`;
    }
    list.append(chip);
  }
  return [['Used', list], ['Distrusted', record.distrusted.join(', ') || 'none', record.distrusted.length > 0]];
}

export function describe(record) {
  const t = record.timings;
  return [
    section('Position', [
      ['Latitude', latitude(record.latitude, 6)],
      ['Longitude', longitude(record.longitude, 6)],
      ['On the area’s border', record.border ? 'yes: the emitter may be outside' : 'no', record.border],
    ]),
    section(`Ellipse, ${number(record.confidence * 100)} %`, [
      ['Semi-major axis', length(record.semi_major_m)],
      ['Semi-minor axis', length(record.semi_minor_m)],
      ['Direction', `${number(record.orientation_deg, 1)}° from north`],
      ['1 sigma, 39 %', `${length(record.sigma_x_m)} × ${length(record.sigma_y_m)}, ${number(record.theta_rad, 3)} rad from east`],
      ['Variance east, north', `${number(record.cov_east_m2)} m², ${number(record.cov_north_m2)} m²`],
      ['Covariance', `${number(record.cov_east_north_m2)} m²`],
      ['Outline', record.outline_geojson ? 'in the record' : 'switched off'],
    ]),
    section('Capture', [
      ['Frequency', frequency(record.center_frequency_hz)],
      ['Network', record.network],
      ['Captured', utc(record.captured_at_us)],
      ['Capture', record.capture_id],
    ]),
    section('Receivers', receivers(record)),
    section('Model', [
      ['Name', record.model_name],
      ['Version', record.model_version],
      ['Fallback', record.fallback ? 'yes: another version than the drawn one answered' : 'no', record.fallback],
      ['Own confidence', record.model_confidence === null ? 'states none' : number(record.model_confidence, 3)],
      ['From the cache', CACHE[record.cache] ?? record.cache],
    ]),
    section('Timings', [
      ['Total', duration(t.total_ms)],
      ['Queue', duration(t.queue_ms)],
      ['Features', duration(t.features_ms)],
      ['Inference', duration(t.inference_ms)],
      ['', stages(t)],
    ]),
    raw(record),
  ];
}

let asked = 0;

// Shows the panel for a fix; what the topic's record says comes from the server.
export async function showDetail(fix) {
  const number = fix[AT.number], ask = ++asked;
  const panel = $('detail');
  panel.hidden = false;
  $('detail-title').textContent = frequency(fix[AT.hz]);
  try {
    const answer = await fetch(`map/fix/${number}?run=${store.run}`);
    const body = await answer.json();
    if (ask !== asked) return;
    const parts = answer.ok ? describe(body) : [Object.assign(document.createElement('p'), {className: 'note', textContent: body.error.message})];
    $('detail-body').replaceChildren(...parts);
    panel.dataset.number = number;
  } catch {
    if (ask === asked) $('detail-body').textContent = 'The server does not answer just now.';
  }
}

export function hideDetail() {
  asked++;
  $('detail').hidden = true;
}
