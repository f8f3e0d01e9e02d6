// The ground that a picture stands on: where its edges are of one colour, the tile takes it, and the picture fills it.
//
// Drawings on white, logos on black and photographs then lie side by side as one sheet, by day and by night.

// The thumbnail is looked at in this many pixels a side: its outermost ring is then a few pixels of a usual one.
const SIDE = 40;
// As bright as this is paper, and so much of the edge has to be: drawings are cut so that they touch it.
const PAPER = 236;
const PAPER_SHARE = 0.5;
// Of another colour an edge has to be even: channels this near to each other, nearly all around.
const NEAR = 14;
const EVEN_SHARE = 0.85;
const KEPT = 5_000;

const known = new Map();
let pen = null;

/** "paper" for a white edge, "r g b" for another even one, "" for none; of an image that is loaded. */
export function groundOf(image) {
  const url = image.currentSrc;
  if (known.has(url)) return known.get(url);
  if (known.size > KEPT) known.clear();
  const found = look(image);
  known.set(url, found);
  return found;
}

function look(image) {
  pen ??= Object.assign(document.createElement("canvas"), { width: SIDE, height: SIDE }).getContext("2d", {
    willReadFrequently: true,
  });
  pen.drawImage(image, 0, 0, SIDE, SIDE);
  const { data } = pen.getImageData(0, 0, SIDE, SIDE);
  const edge = [];
  for (let y = 0; y < SIDE; y++)
    for (let x = 0; x < SIDE; x++) {
      if (x && y && x < SIDE - 1 && y < SIDE - 1) continue;
      edge.push(data.subarray(4 * (y * SIDE + x), 4 * (y * SIDE + x) + 3));
    }
  if (edge.filter((pixel) => Math.min(...pixel) >= PAPER).length >= PAPER_SHARE * edge.length) return "paper";
  // The median, for what crosses the edge is no part of the ground.
  const middle = [0, 1, 2].map(
    (channel) => edge.map((pixel) => pixel[channel]).sort((a, b) => a - b)[edge.length >> 1],
  );
  const even = edge.filter((pixel) =>
    pixel.every((value, channel) => Math.abs(value - middle[channel]) <= NEAR),
  ).length;
  return even < EVEN_SHARE * edge.length ? "" : middle.join(" ");
}
