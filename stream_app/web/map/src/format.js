// Numbers as people read them.
export const number = (value, digits = 0) => value.toLocaleString('en', {minimumFractionDigits: digits, maximumFractionDigits: digits});

export const frequency = (hz) => hz >= 1e9 ? `${number(hz / 1e9, 4)} GHz` : hz >= 1e6 ? `${number(hz / 1e6, 3)} MHz` : `${number(hz / 1e3, 2)} kHz`;

export const length = (m) => m >= 1e5 ? `${number(m / 1e3)} km` : m >= 1000 ? `${number(m / 1e3, 1)} km` : m >= 100 ? `${number(m)} m` : `${number(m, 1)} m`;

export function axes(major, minor) {
  return major < 1000 ? `${number(major)} × ${number(minor)} m` : `${number(major / 1e3, 1)} × ${number(minor / 1e3, 1)} km`;
}

export const duration = (ms) => ms >= 120e3 ? `${number(ms / 60e3)} min` : ms >= 10e3 ? `${number(ms / 1e3)} s` : ms >= 1e3 ? `${number(ms / 1e3, 1)} s` : ms >= 10 ? `${number(ms)} ms` : `${number(ms, 1)} ms`;

export const ago = (ms) => ms < 1500 ? 'now' : `${duration(ms)} ago`;

export const percent = (share) => `${number(share * 100, share > 0 && share < 0.1 ? 1 : 0)} %`;

export const latitude = (deg, digits = 5) => `${Math.abs(deg).toFixed(digits)}° ${deg < 0 ? 'S' : 'N'}`;
export const longitude = (deg, digits = 5) => `${Math.abs(deg).toFixed(digits)}° ${deg < 0 ? 'W' : 'E'}`;

export const clock = (ms) => new Date(ms).toLocaleTimeString('en-GB');

export const utc = (us) => `${new Date(us / 1000).toISOString().slice(0, 19).replace('T', ' ')}.${String(us % 1e6).padStart(6, '0')} UTC`;
