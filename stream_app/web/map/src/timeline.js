// The last hour: how many fixes there were, and which moment is looked at.
import {clock, duration} from './format.js';
import {serverNow, store} from './store.js';

const HOUR_S = 3600, ASK_MS = 150;
const $ = (id) => document.getElementById(id);

export class Timeline {
  constructor(trailMs, onChange) {
    this.trailMs = trailMs;
    this.onChange = onChange;
    this.at = null;  // ms; null: now
    this.asking = false;
    $('time').addEventListener('input', () => this.go(Number($('time').value)));
    $('live').addEventListener('click', () => this.live());
    $('timeline').addEventListener('submit', (event) => event.preventDefault());
    this.show();
  }

  step(seconds) {
    const now = this.at === null ? 0 : (this.at - serverNow()) / 1e3;
    this.go(Math.max(-HOUR_S, now + seconds));
  }

  go(seconds) {
    if (seconds >= -0.5) return this.live();
    this.at = serverNow() + seconds * 1e3;
    this.show();
    return this.ask();
  }

  live() {
    this.at = null;
    store.past = null;
    this.show();
    this.onChange();
  }

  // One question at a time; the slider's last place is always asked for.
  async ask() {
    if (this.asking) return;
    this.asking = true;
    try {
      for (let asked = null; this.at !== null && asked !== this.at;) {
        asked = this.at;
        const answer = await fetch(`map/history?at=${Math.round(asked)}&window=${this.trailMs() / 1e3}`);
        if (answer.ok && this.at !== null) {
          store.past = {at: asked, ...await answer.json()};
          this.onChange();
        }
        await new Promise((done) => setTimeout(done, ASK_MS));
      }
    } catch {
      // The line is down; the page says so already.
    } finally {
      this.asking = false;
    }
  }

  show() {
    const live = this.at === null;
    const back = live ? 0 : Math.max(-HOUR_S, (this.at - serverNow()) / 1e3);
    const slider = $('time');
    slider.value = Math.round(back);
    $('live').setAttribute('aria-pressed', String(live));
    const said = live ? 'now' : `${clock(this.at)}, ${duration(-back * 1e3)} ago`;
    $('moment').textContent = live ? clock(serverNow()) : `${clock(this.at)} · −${duration(-back * 1e3)}`;
    slider.setAttribute('aria-valuetext', said);
    document.body.dataset.time = live ? 'live' : 'past';
  }

  draw() {
    const canvas = $('spark'), {timeline} = store;
    const width = canvas.clientWidth * devicePixelRatio, height = canvas.clientHeight * devicePixelRatio;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, {width, height});
    const pen = canvas.getContext('2d');
    pen.clearRect(0, 0, width, height);
    if (!timeline) return;
    const most = Math.max(1, ...timeline.counts), wide = width / timeline.counts.length;
    pen.fillStyle = getComputedStyle(canvas).color;
    timeline.counts.forEach((count, n) => {
      const high = count === 0 ? 0 : Math.max(2, Math.sqrt(count / most) * height);
      pen.fillRect(n * wide, height - high, Math.max(1, wide - 0.5), high);
    });
  }
}
