/**
 * Huffman-coded strings (RFC 7541, 5.2 and Appendix B). The code is canonical: codes of a length follow one another in the order of their symbols, and those of the next length
 * follow them. So the lengths say it all.
 */

/** In bits, of the symbols 0 to 255 and of EOS. */
const CODE_LENGTHS: readonly number[] = [
  ...[13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28],
  ...[6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10],
  ...[13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6],
  ...[15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28],
  ...[20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24],
  ...[22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23],
  ...[26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27],
  ...[20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26],
  30,
];
const EOS = 256;
const MAX_BITS = 30;
/** Padding is shorter than a byte, and all ones: the first bits of EOS. */
const MAX_PADDING_BITS = 7;

/** By length: the first code, and the symbols in order. */
const firstCodes = new Uint32Array(MAX_BITS + 1);
const symbolsOf: number[][] = Array.from({ length: MAX_BITS + 1 }, () => []);

CODE_LENGTHS.forEach((length, symbol) => void symbolsOf[length]!.push(symbol));
for (let length = 1; length <= MAX_BITS; length++) {
  firstCodes[length] = (firstCodes[length - 1]! + symbolsOf[length - 1]!.length) * 2;
}

/** The string; undefined: it is no such code, or longer than `limitBytes`. */
export function decodeHuffman(bytes: Uint8Array, limitBytes: number): Uint8Array | undefined {
  const out: number[] = [];
  let [code, bits] = [0, 0];
  for (const byte of bytes) {
    for (let bit = 7; bit >= 0; bit--) {
      code = code * 2 + ((byte >> bit) & 1);
      bits++;
      const symbol = bits > MAX_BITS ? EOS : symbolsOf[bits]![code - firstCodes[bits]!];
      if (symbol === undefined) continue;
      if (symbol === EOS || out.length === limitBytes) return undefined;
      out.push(symbol);
      [code, bits] = [0, 0];
    }
  }
  return bits <= MAX_PADDING_BITS && code === 2 ** bits - 1 ? Uint8Array.from(out) : undefined;
}
