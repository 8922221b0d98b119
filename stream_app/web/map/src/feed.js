// Server-sent events, come what may: the browser tries again when a line breaks, this when it gives up or falls silent.
import {begin, take} from './store.js';

const SILENCE_MS = 6000, FIRST_PAUSE_MS = 500, LONGEST_PAUSE_MS = 8000;

export function follow(address, onState, onNews) {
  let source, heard = 0, pause = FIRST_PAUSE_MS, waiting;

  function open() {
    clearTimeout(waiting);
    source?.close();
    source = new EventSource(address);
    heard = Date.now();
    source.addEventListener('hello', (event) => {
      begin(JSON.parse(event.data));
      pause = FIRST_PAUSE_MS;
      onState(true);
    });
    source.addEventListener('news', (event) => {
      heard = Date.now();
      take(JSON.parse(event.data));
      onNews();
    });
    source.onerror = () => {
      onState(false);
      if (source.readyState === EventSource.CLOSED) again();
    };
  }

  function again() {
    source.close();
    clearTimeout(waiting);
    waiting = setTimeout(open, pause);
    pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
  }

  setInterval(() => {
    if (Date.now() - heard > SILENCE_MS) {
      onState(false);
      heard = Date.now();
      again();
    }
  }, 1000);
  open();
}
