// Builds dist/: page, styles, program, MapLibre's worker and the base layer, under names that carry their content's hash.
import {createHash} from 'node:crypto';
import {existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {gzipSync} from 'node:zlib';
import {build} from 'esbuild';
import {feature, mesh} from 'topojson-client';

const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, 'dist');
const modules = join(here, 'node_modules');
const require = createRequire(import.meta.url);
const written = [];

function write(name, content, hashed = true) {
  const bytes = Buffer.from(content);
  const mark = createHash('sha256').update(bytes).digest('hex').slice(0, 10);
  const full = hashed ? name.replace(/\.([a-z]+)$/, `.${mark}.$1`) : name;
  writeFileSync(join(dist, full), bytes);
  writeFileSync(join(dist, `${full}.gz`), gzipSync(bytes, {level: 9}));
  written.push(full);
  return full;
}

// Coastlines and borders of Natural Earth 1:50m, rounded to what a 1:50m map knows.
function baseLayer() {
  const atlas = require('world-atlas/countries-50m.json');
  const rounded = (value) => Array.isArray(value) ? value.map(rounded) : Math.round(value * 1e4) / 1e4;
  const land = feature(atlas, atlas.objects.land);
  const shapes = land.type === 'FeatureCollection' ? land.features.map((one) => one.geometry) : [land.geometry];
  const borders = mesh(atlas, atlas.objects.countries, (a, b) => a !== b);
  const as = (kind, geometry) => ({
    type: 'Feature', properties: {kind}, geometry: {type: geometry.type, coordinates: rounded(geometry.coordinates)},
  });
  return JSON.stringify({
    type: 'FeatureCollection',
    features: [...shapes.map((shape) => as('land', shape)), as('border', borders)],
  });
}

// What of others is in the bundle, and under which terms.
function licences(inputs) {
  const names = new Set(['maplibre-gl', 'world-atlas']);
  for (const path of inputs) {
    const found = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path);
    if (found) names.add(found[1]);
  }
  // MapLibre's own bundle has its dependencies in it already.
  for (const name of Object.keys(require('maplibre-gl/package.json').dependencies)) names.add(name);
  const texts = [...names].filter((name) => existsSync(join(modules, name, 'package.json'))).sort().map((name) => {
    const about = JSON.parse(readFileSync(join(modules, name, 'package.json')));
    const file = readdirSync(join(modules, name)).find((one) => /^licen[cs]e/i.test(one));
    const text = file ? readFileSync(join(modules, name, file), 'utf8').trim() : `License: ${about.license}`;
    return `${name} ${about.version} (${about.license})\n\n${text}\n`;
  });
  return `The map has in it:\n\nCoastlines and borders: Natural Earth, public domain, by way of world-atlas.\n\n${
    texts.join(`\n${'-'.repeat(80)}\n\n`)}`;
}

rmSync(dist, {recursive: true, force: true});
mkdirSync(dist);
const worker = write('worker.js', readFileSync(join(modules, 'maplibre-gl/dist/maplibre-gl-worker.mjs'), 'utf8')
  .replace(/^\/\/# sourceMappingURL=.*$/m, ''));
const base = write('base.json', baseLayer());
const made = await build({
  entryPoints: [join(here, 'src/main.js')],
  bundle: true, minify: true, write: false, metafile: true, outdir: dist, format: 'esm', target: 'es2022',
  legalComments: 'none', logLevel: 'warning',
  define: {WORKER_FILE: JSON.stringify(worker), BASE_FILE: JSON.stringify(base)},
});
const text = (end) => made.outputFiles.find((file) => file.path.endsWith(end)).text;
const program = write('main.js', text('.js'));
const styles = write('style.css', text('.css'));
const terms = write('licences.txt', licences(Object.keys(made.metafile.inputs)));
const icon = write('icon.svg', readFileSync(join(here, 'src/icon.svg')));
const page = readFileSync(join(here, 'src/index.html'), 'utf8').replace(/\{(program|styles|terms|icon)\}/g, (_, what) =>
  `map/${{program, styles, terms, icon}[what]}`);
write('index.html', page, false);
writeFileSync(join(dist, 'files.json'), JSON.stringify(written, null, 1));
