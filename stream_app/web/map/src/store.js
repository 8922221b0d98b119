// What is known: the newest fixes, tracks and figures. Bounded: the oldest fixes go.
export const AT = {number: 0, ms: 1, hz: 2, lat: 3, lon: 4, major: 5, minor: 6, direction: 7, version: 8, network: 9, hit: 10, flags: 11};
export const BORDER = 1, FALLBACK = 2, DISTRUSTED = 4;

export const store = {
  run: '', drawn: 2000,
  fixes: [],  // rows, the newest last
  tracks: [],
  stats: null, timeline: null, missed: 0,
  past: null,  // {at, fixes, tracks}: a moment of the last hour, where one is looked at
  clockOff: null,  // the server's clock minus this one's, ms
};

export const serverNow = () => Date.now() + (store.clockOff ?? 0);

export function begin(hello) {
  if (hello.run !== store.run) {
    Object.assign(store, {run: hello.run, drawn: hello.drawn, fixes: [], tracks: [], missed: 0});
  }
}

export function take(news) {
  if (news.fixes) {
    store.fixes.push(...news.fixes);
    if (store.fixes.length > store.drawn) store.fixes = store.fixes.slice(-store.drawn);
  }
  if (news.tracks) store.tracks = news.tracks;
  if (news.timeline) store.timeline = news.timeline;
  if (news.stats) {
    store.stats = news.stats;
    store.missed = news.missed;
    // News that was on its way for long would set this clock back: the quickest counts, and may drift.
    store.clockOff = Math.max(news.stats.now - Date.now(), store.clockOff === null ? -Infinity : store.clockOff - 5);
  }
}

// What is to be drawn, and as of when.
export function view(trailMs) {
  const {past} = store;
  const at = past ? past.at : serverNow();
  const fixes = past ? past.fixes : store.fixes;
  const first = fixes.findIndex((fix) => fix[AT.ms] > at - trailMs);
  return {at, fixes: first < 0 ? [] : fixes.slice(first), tracks: past ? past.tracks : store.tracks};
}

// The newest fix of each network and frequency, by frequency.
export function emitters(fixes) {
  const found = new Map();
  for (const fix of fixes) found.set(`${fix[AT.network]}/${fix[AT.hz]}`, fix);
  return [...found].sort((a, b) => a[1][AT.hz] - b[1][AT.hz] || a[1][AT.network] - b[1][AT.network]);
}
