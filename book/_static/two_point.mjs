// Diffusion of two points, in closed form: x_0 is +1 with probability p, otherwise -1.
//
// The same tables and steps as helpers.schedules, helpers.forward and helpers.sampling,
// for a single number x_t. Symbols are those of Ho et al. 2020; t runs from 0 to T.

/** DDPM's linear schedule; each table has T + 1 entries, entry 0 is the clean image. */
export function linear(T = 1000, beta1 = 1e-4, betaT = 0.02) {
  const beta = [0], logAlphaBar = [0];
  for (let t = 1; t <= T; t++) {
    beta.push(beta1 + ((betaT - beta1) * (t - 1)) / (T - 1));
    logAlphaBar.push(logAlphaBar[t - 1] + Math.log1p(-beta[t]));
  }
  const alphaBar = logAlphaBar.map(Math.exp);
  const noise = logAlphaBar.map((log) => 0 - Math.expm1(log)); // 1 - alphaBar, no cancelling
  const snr = alphaBar.map((signal, t) => signal / noise[t]);
  return { T, beta, logAlphaBar, alphaBar, noise, snr };
}

/** log P(x_0 = +1 | x_t) / P(x_0 = -1 | x_t), for t > 0. */
export const logOdds = (x, t, schedule, p = 0.5) =>
  (2 * Math.sqrt(schedule.alphaBar[t]) * x) / schedule.noise[t] + Math.log(p / (1 - p));

/** P(x_0 = +1 | x_t). */
export const plus = (x, t, schedule, p = 0.5) =>
  1 / (1 + Math.exp(-logOdds(x, t, schedule, p)));

/** E[x_0 | x_t] = tanh(log odds / 2): the answer with the smallest squared error. */
export const posteriorMean = (x, t, schedule, p = 0.5) =>
  Math.tanh(logOdds(x, t, schedule, p) / 2);

/** d/dx log q(x_t), by Tweedie's formula. */
export const score = (x, t, schedule, p = 0.5) =>
  (Math.sqrt(schedule.alphaBar[t]) * posteriorMean(x, t, schedule, p) - x) /
  schedule.noise[t];

/** q(x_t), averaged with a Gaussian of the standard deviation `blur`. */
export function density(x, t, schedule, p = 0.5, blur = 0) {
  const variance = schedule.noise[t] + blur ** 2;
  const at = Math.sqrt(schedule.alphaBar[t]);
  const normal = (m) =>
    Math.exp(-((x - m) ** 2) / (2 * variance)) / Math.sqrt(2 * Math.PI * variance);
  return p * normal(at) + (1 - p) * normal(-at);
}

/** The timesteps from t down to 1 that lie on the grid 1, 1 + stride, 1 + 2 stride, ... */
export function timesFrom(t, stride = 1) {
  const times = [t];
  let s = 1 + stride * Math.floor((t - 1) / stride);
  if (s === t) s -= stride;
  for (; s >= 1; s -= stride) times.push(s);
  return times;
}

/** Variance of q(x_t | x_s), s < t; for s = t - 1 it is beta_t. */
export const stepVariance = ({ logAlphaBar }, t, s) =>
  -Math.expm1(logAlphaBar[t] - logAlphaBar[s]);

/** Variance of q(x_s | x_t, x_0), s < t; for s = t - 1 it is DDPM's beta tilde (Eq. 7). */
export const posteriorVariance = (schedule, t, s) =>
  (schedule.noise[s] / schedule.noise[t]) * stepVariance(schedule, t, s);

/** Mean of q(x_s | x_t, x_0), s < t (Eq. 7). */
export function stepMean(x0, x, t, s, schedule) {
  const { noise, logAlphaBar: log } = schedule;
  const fromX0 = (Math.exp(log[s] / 2) * stepVariance(schedule, t, s)) / noise[t];
  const fromXt = (Math.exp((log[t] - log[s]) / 2) * noise[s]) / noise[t];
  return fromX0 * x0 + fromXt * x;
}

/** The step t -> s of DDIM without noise (Song, Meng & Ermon 2021, Eq. 12). */
export function ddimStep(x0, x, t, s, { alphaBar, noise }) {
  const eps = (x - Math.sqrt(alphaBar[t]) * x0) / Math.sqrt(noise[t]);
  return Math.sqrt(alphaBar[s]) * x0 + Math.sqrt(noise[s]) * eps;
}

/** A walk down a list of timesteps: [[t, x_t], ..., [0, x_0]].
 *
 * `step(x0Hat, x, t, s)` goes from t to s; the walk ends with the last answer.
 */
function walk(x, times, schedule, p, step) {
  const points = [];
  times.forEach((t, i) => {
    points.push([t, x]);
    const x0 = posteriorMean(x, t, schedule, p);
    x = i + 1 < times.length ? step(x0, x, t, times[i + 1]) : x0;
  });
  return [...points, [0, x]];
}

export const ddim = (x, times, schedule, p = 0.5) =>
  walk(x, times, schedule, p, (x0, xt, t, s) => ddimStep(x0, xt, t, s, schedule));

/** Ancestral sampling (Alg. 2); `noise(t)` is the standard normal number of the step at t. */
export function ancestral(x, times, schedule, noise, p = 0.5, variance = posteriorVariance) {
  return walk(x, times, schedule, p, (x0, xt, t, s) =>
    stepMean(x0, xt, t, s, schedule) + Math.sqrt(variance(schedule, t, s)) * noise(t));
}
