// Random numbers that depend on a seed alone, so that a page can be shown again.

/** A function that draws numbers in [0, 1) (the generator mulberry32). */
export function uniforms(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), 1 | state);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), 61 | bits);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A function that draws standard normal numbers (Box and Muller). */
export function gaussians(seed) {
  const uniform = uniforms(seed);
  return () => {
    const radius = Math.sqrt(-2 * Math.log(1 - uniform())); // 1 - u is never 0
    return radius * Math.cos(2 * Math.PI * uniform());
  };
}
