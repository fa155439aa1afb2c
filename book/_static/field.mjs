// The Wiener filter of a data set, one row at a time, from its shipped eigenvectors.
//
//   S = U diag(lambda / (lambda + sigma^2)) U' + gbar (I - U U')
//
// The same numbers as helpers.wiener and helpers.fields, in float64. U holds the
// leading eigenvectors of the covariance; all the others share the gain gbar. Images
// are flattened as (C, H, W); a pixel is [row, column], both from 0.

import { linear } from "./two_point.mjs";

const TYPES = {
  I16: Int16Array, I32: Int32Array, I64: BigInt64Array, F32: Float32Array, F64: Float64Array,
};

/** The tensors of a safetensors file: {name: {shape, data}}. */
export function parse(buffer) {
  const size = Number(new DataView(buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, size)));
  delete header.__metadata__;
  const tensor = ({ dtype, shape, data_offsets: [from, to] }) => // a copy is aligned
    ({ shape, data: new TYPES[dtype](buffer.slice(8 + size + from, 8 + size + to)) });
  return Object.fromEntries(
    Object.entries(header).map(([name, about]) => [name, tensor(about)]));
}

/** Moments from a file: U stays int16, its column j is to be multiplied by scale[j]. */
export function moments(buffer) {
  const { mu, lam, U, scale, rest, shape, N } = parse(buffer);
  const [C, H, W] = shape.data;
  const [n, r] = U.shape;
  return { C, H, W, n, r, mu: mu.data, lam: lam.data, U: U.data, scale: scale.data,
    rest: rest.data, N: Number(N.data[0]) };
}

const loading = new Map(); // name -> promise of its moments

/** The moments of a set, fetched once; after a failure the next call tries again. */
export function load(name) {
  if (!loading.has(name)) {
    const ask = fetched(new URL(`moments/${name}.safetensors`, import.meta.url));
    loading.set(name, ask);
    ask.catch(() => loading.delete(name));
  }
  return loading.get(name);
}

async function fetched(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
  return moments(await answer.arrayBuffer());
}

export const gain = (lam, sigma) => lam / (lam + sigma ** 2);

/** What one output is made of: [[index, weight], ...] for one channel, or their mean. */
export function output({ C, H, W }, [row, column], channel) {
  const index = (c) => (c * H + row) * W + column;
  if (channel !== "mean") return [[index(channel), 1]];
  return Array.from({ length: C }, (_, c) => [index(c), 1 / C]);
}

/** The products of the output with each eigenvector, v' U: r numbers. */
function coefficients({ U, r, scale }, v) {
  const products = new Float64Array(r);
  for (const [m, weight] of v)
    for (let j = 0; j < r; j++) products[j] += weight * U[m * r + j] * scale[j];
  return products;
}

/** v' S, the row of the filter: how the output answers to each number of the input. */
export function field(moments, v, sigma) {
  const { U, n, r, scale, lam, rest } = moments;
  const common = gain(rest[1], sigma);
  const factor = coefficients(moments, v).map((product, j) =>
    (gain(lam[j], sigma) - common) * product * scale[j]);
  const answer = new Float64Array(n);
  for (let i = 0, k = 0; i < n; i++) {
    let sum = 0;
    for (let j = 0; j < r; j++, k++) sum += factor[j] * U[k];
    answer[i] = sum;
  }
  for (const [m, weight] of v) answer[m] += common * weight;
  return answer;
}

const norm = (numbers) => Math.sqrt(numbers.reduce((sum, v) => sum + v * v, 0));

/** How far `field` can be from the row of the whole covariance, in Euclidean norm.
 *
 * Two parts, as in Wiener.row_error. A dropped eigenvector has the gain `common` instead
 * of its own, which lies between those of the smallest and the largest eigenvalue that
 * were dropped. Each entry of U is wrong by at most half a step of its scale.
 */
export function bound(moments, v, sigma) {
  const { n, lam, scale, rest } = moments;
  const [low, common, high] = [...rest].map((value) => gain(value, sigma));
  const total = v.reduce((sum, [, weight]) => sum + Math.abs(weight), 0);
  let [outside, columns, entries] = [norm(v.map(([, weight]) => weight)) ** 2, 0, 0];
  coefficients(moments, v).forEach((product, j) => {
    const [change, step] = [gain(lam[j], sigma) - common, scale[j] / 2];
    outside -= Math.max(Math.abs(product) - total * step, 0) ** 2;
    columns += Math.abs(change * product) * Math.sqrt(n) * step;
    entries += (change * total * step) ** 2;
  });
  const cut = Math.max(high - common, common - low) * Math.sqrt(Math.max(outside, 0));
  return cut + columns + Math.sqrt(entries);
}

/** One field from those of all channels: how the output answers when they move together. */
export function together(field, { H, W }) {
  const sum = new Float64Array(H * W);
  field.forEach((value, i) => (sum[i % (H * W)] += value));
  return sum;
}

/** The square of a field at each pixel, summed over its channels. */
const energy = (field, shape) => together(field.map((value) => value ** 2), shape);

/** sqrt(sum w r^2 / sum w), w the energy, r the distance to the pixel, in pixels. */
export function effectiveRadius(field, { H, W }, [row, column]) {
  let [moment, mass] = [0, 0];
  energy(field, { H, W }).forEach((w, i) => {
    mass += w;
    moment += w * ((Math.floor(i / W) - row) ** 2 + ((i % W) - column) ** 2);
  });
  return Math.sqrt(moment / mass);
}

/** Share of the energy where `inside` says so of [row, column]. */
function share(field, { H, W }, inside) {
  let [some, all] = [0, 0];
  energy(field, { H, W }).forEach((w, i) => {
    all += w;
    if (inside([Math.floor(i / W), i % W])) some += w;
  });
  return some / all;
}

const isNear = ([row, column], k) => ([i, j]) =>
  Math.max(Math.abs(i - row), Math.abs(j - column)) <= (k - 1) / 2;

/** Share of the energy in the k x k window about the pixel, cut at the border. */
export const energyWithin = (field, shape, pixel, k) =>
  share(field, shape, isNear(pixel, k));

/** The same about the pixel mirrored left to right, without the pixel's own window. */
export function mirrorEnergy(field, shape, [row, column], k) {
  const own = isNear([row, column], k);
  const mirror = isNear([row, shape.W - 1 - column], k);
  return share(field, shape, (place) => mirror(place) && !own(place));
}

const { noise, alphaBar } = linear();
const LOG_SIGMA = noise.map((variance, t) => Math.log(variance / alphaBar[t]) / 2);

/** The timestep of DDPM's linear schedule whose noise level is nearest, on a log scale. */
export function timestep(sigma) {
  const gap = (t) => Math.abs(LOG_SIGMA[t] - Math.log(sigma));
  return LOG_SIGMA.reduce((best, _, t) => (t > 1 && gap(t) < gap(best) ? t : best), 1);
}
