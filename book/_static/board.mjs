// The board game, exactly: where the piece was, given where it is.
//
// The same mathematics as helpers.board, in the browser. A law is a Map from a number
// (a spin, a square) to a whole weight (BigInt); its probabilities are the weights over
// their sum, so nothing is rounded, and its numbers are sorted. A game is {starts,
// spinner}, two laws. Laws and games are never changed: a new question is a new game.

export class Unreachable extends Error {}

const sorted = (pairs) => [...pairs].sort(([a], [b]) => a - b);

/** A law from [value, whole number] pairs; weights of 0 are dropped. */
export function law(pairs) {
  const kept = [...pairs].filter(([, weight]) => Number(weight) !== 0);
  if (!kept.length || kept.some(([, weight]) => weight < 0))
    throw new RangeError("a law needs weights above 0");
  return new Map(sorted(kept).map(([x, weight]) => [x, BigInt(weight)]));
}

export const uniform = (values) => law([...values].map((x) => [x, 1n]));

/** The whole numbers low, ..., high. */
export const range = (low, high) =>
  Array.from({ length: high - low + 1 }, (_, i) => low + i);

/** The weights after one more spin. */
function moved(before, spinner) {
  const spins = [...spinner.keys()];
  const weights = new Set(spinner.values());
  const isRun = spins.at(-1) - spins[0] === spins.length - 1 && weights.size === 1;
  return isRun ? movedByRun(before, spinner) : movedByAny(before, spinner);
}

function movedByAny(before, spinner) {
  const after = new Map();
  for (const [spin, w] of spinner)
    for (const [x, v] of before)
      after.set(x + spin, (after.get(x + spin) ?? 0n) + v * w);
  return new Map(sorted(after));
}

/** The same for a uniform spinner without gaps: a window that slides over the squares.
 *
 * Two operations for each square instead of one for each spin, so that 40 turns from 20
 * starts take milliseconds.
 */
function movedByRun(before, spinner) {
  const [spins, [w]] = [[...spinner.keys()], spinner.values()];
  const [low, high] = [spins[0], spins.at(-1)];
  const squares = [...before.keys()];
  const after = new Map();
  let window = 0n;
  for (let x = squares[0] + low; x <= squares.at(-1) + high; x++) {
    const [enters, leaves] = [before.get(x - low), before.get(x - high - 1)];
    if (enters) window += enters;
    if (leaves) window -= leaves;
    if (window) after.set(x, w === 1n ? window : w * window);
  }
  return after;
}

const tables = new WeakMap(); // game -> its squares after 0, 1, 2, ... turns
const fromZero = new WeakMap(); // spinner -> the game that starts on square 0

/** The weights of the squares after `turn` turns; each table is computed once. */
function ways(game, turn) {
  if (!tables.has(game)) tables.set(game, [game.starts]);
  const known = tables.get(game);
  while (known.length <= turn) known.push(moved(known.at(-1), game.spinner));
  return known[turn];
}

/** The law of the sum of k spins. */
export function total(spinner, k) {
  if (!fromZero.has(spinner))
    fromZero.set(spinner, { starts: uniform([0]), spinner });
  return ways(fromZero.get(spinner), k);
}

/** q(x_k): where the piece is after `turn` turns. */
export const squares = ways;

/** q(x_j | x_k), j = at: proportional to q(x_j) times the ways from there to here. */
export function earlier(game, square, turn, at) {
  const then = ways(game, at);
  const later = total(game.spinner, turn - at);
  const both = new Map();
  for (const [steps, w] of [...later].reverse())
    if (then.has(square - steps)) both.set(square - steps, w * then.get(square - steps));
  if (!both.size)
    throw new Unreachable(`no game is on square ${square} after ${turn} turns`);
  return both;
}

export const previous = (game, square, turn) => earlier(game, square, turn, turn - 1);
export const start = (game, square, turn) => earlier(game, square, turn, 0);

/** What the spinner showed in the last turn, given the square after it. */
export const lastSpin = (game, square, turn) =>
  new Map([...previous(game, square, turn)].reverse().map(([x, w]) => [square - x, w]));

/** How many histories (a start and `turn` spins) end on the square. */
export function count(game, square, turn) {
  const flat = ({ starts, spinner }) =>
    ({ starts: uniform(starts.keys()), spinner: uniform(spinner.keys()) });
  const weighted = [...game.starts, ...game.spinner].some(([, w]) => w !== 1n);
  return ways(weighted ? flat(game) : game, turn).get(square) ?? 0n;
}

/** All histories that end on the square: [{start, spins, weight}, ...], sorted. */
export function histories(game, square, turn, limit = 1000) {
  if (count(game, square, turn) > limit)
    throw new RangeError(`there are more than ${limit} histories`);
  let tails = [{ start: square, spins: [], weight: 1n }];
  for (let k = turn - 1; k >= 0; k--)
    tails = tails.flatMap((tail) => oneTurnBack(game, tail, k));
  return tails
    .filter((tail) => game.starts.has(tail.start))
    .map((tail) => ({ ...tail, weight: tail.weight * game.starts.get(tail.start) }))
    .sort(
      (a, b) =>
        a.start - b.start ||
        a.spins.map((s, i) => s - b.spins[i]).find((d) => d !== 0) ||
        0,
    );
}

function oneTurnBack(game, tail, k) {
  return [...game.spinner]
    .filter(([spin]) => ways(game, k).has(tail.start - spin))
    .map(([spin, weight]) => ({
      start: tail.start - spin,
      spins: [spin, ...tail.spins],
      weight: weight * tail.weight,
    }));
}

function gcd(a, b) {
  while (b) [a, b] = [b, a % b];
  return a < 0n ? -a : a;
}

/** A reduced fraction {num, den} of two whole numbers, den above 0. */
export function fraction(num, den) {
  const common = gcd(num, den);
  return { num: num / common, den: den / common };
}

/** "3/100", or "9" for a whole number. */
export const text = ({ num, den }) => (den === 1n ? `${num}` : `${num}/${den}`);
export const number = ({ num, den }) => Number(num) / Number(den);

const sum = (numbers) => numbers.reduce((a, b) => a + b, 0n);
export const mass = (p) => sum([...p.values()]);

/** A Map from each value to its probability, a fraction. */
export function probabilities(p) {
  const all = mass(p);
  return new Map([...p].map(([x, w]) => [x, fraction(w, all)]));
}

/** Whether two laws are equal, exactly. */
export function same(p, q) {
  const [a, b] = [mass(p), mass(q)];
  return p.size === q.size && [...p].every(([x, w]) => w * b === (q.get(x) ?? 0n) * a);
}

export const mean = (p) => fraction(sum([...p].map(([x, w]) => BigInt(x) * w)), mass(p));

export function variance(p) {
  const all = mass(p);
  const first = sum([...p].map(([x, w]) => BigInt(x) * w));
  const second = sum([...p].map(([x, w]) => BigInt(x * x) * w));
  return fraction(second * all - first * first, all * all);
}

/** -sum p log2 p, in bits. */
export function entropy(p) {
  const all = Number(mass(p));
  const bits = [...p.values()].map((w) => (Number(w) / all) * Math.log2(all / Number(w)));
  return bits.reduce((a, b) => a + b, 0);
}

/** One value of a law, from a function that draws numbers in [0, 1). */
export const draw = (p, random) => sampler(p)(random);

function sampler(p) {
  const all = Number(mass(p));
  const pairs = [...p].map(([x, w]) => [x, Number(w) / all]);
  return (random) => {
    let left = random();
    for (const [x, share] of pairs) if ((left -= share) < 0) return x;
    return pairs.at(-1)[0]; // rounding
  };
}

/** n games, played: the squares x_0, ..., x_turns of each. */
export function play(game, turns, random, n) {
  const [first, spin] = [sampler(game.starts), sampler(game.spinner)];
  return Array.from({ length: n }, () => {
    const walk = [first(random)];
    while (walk.length <= turns) walk.push(walk.at(-1) + spin(random));
    return walk;
  });
}

/** A walk back, each step drawn from q(x_{k-1} | x_k): x_0, ..., x_turn = square. */
export function reverse(game, square, turn, random) {
  const walk = [square];
  for (let k = turn; k > 0; k--) walk.unshift(draw(previous(game, walk[0], k), random));
  return walk;
}

/** E[x_j | x_k] for j = 0, ..., turn: a straight line from the mean start.
 *
 * Given the start, no spin differs from another, so each has the mean (x_k - x_0) / k.
 */
export function reverseMean(game, square, turn) {
  const { num, den } = mean(start(game, square, turn));
  const there = BigInt(square) * den - num;
  return range(0, turn).map((j) =>
    fraction(num * BigInt(turn || 1) + there * BigInt(j), den * BigInt(turn || 1)),
  );
}
