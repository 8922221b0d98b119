// Colours. Versions have those of Okabe and Ito, which people with colour blindness tell apart.
const DARK = {
  sea: '#0b131c', land: '#141f2b', border: '#3a5168', grid: '#22313f', area: '#5d7f9e', baseline: '#35506a',
  halo: '#0b131c', ink: '#e8eef4',
  versions: ['#56b4e9', '#e69f00', '#2ec4a0', '#e58fc0', '#f0e442', '#f2733d', '#9db7ff'],
};
const LIGHT = {
  sea: '#d5e2ec', land: '#f6f5f1', border: '#aab6c0', grid: '#cfd8df', area: '#6f8ca6', baseline: '#b4c4d2',
  halo: '#ffffff', ink: '#17222d',
  versions: ['#0072b2', '#c77700', '#008060', '#b5508c', '#8a7a00', '#c24e00', '#4a5fc1'],
};
const KEY = 'fixstream-map-theme';

export const theme = {name: 'dark', colours: DARK};
const told = [];

export const onTheme = (tell) => told.push(tell);

export const versionColour = (index) => theme.colours.versions[(index ?? 0) % theme.colours.versions.length];

function use(name) {
  theme.name = name;
  theme.colours = name === 'light' ? LIGHT : DARK;
  document.documentElement.dataset.theme = name;
  for (const tell of told) tell();
}

export function toggleTheme() {
  const name = theme.name === 'light' ? 'dark' : 'light';
  localStorage.setItem(KEY, name);
  use(name);
}

export function startTheme() {
  const light = matchMedia('(prefers-color-scheme: light)');
  const wanted = () => localStorage.getItem(KEY) ?? (light.matches ? 'light' : 'dark');
  light.addEventListener('change', () => use(wanted()));
  use(wanted());
}
