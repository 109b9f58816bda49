// The canvas over the images: outlines of labels, the deformed grid, the determinant, the crosshair, and letters.

const COLOURS = { fixed_labels: "#3ddc84", warped_labels: "#ff9a1f", before_labels: "#d08cff", displacement: "#4aa8ff" };
const GRID_LINES = 28; // along the longest side
const LINE_WIDTH = { fixed_labels: 2.25, warped_labels: 1.25, before_labels: 1.25, displacement: 1 }; // both show where they agree
const LETTERS = [["R", "L", "A", "P"], ["R", "L", "S", "I"], ["A", "P", "S", "I"]]; // left, right, top, bottom

// The paths of a slice, in voxels, are kept until another slice is shown.
const kept = {};
function path(name, tile, at, make) {
  const key = `${name}${tile.plane}`;
  if (!kept[key] || kept[key].at !== at) kept[key] = { at, path: make() };
  return kept[key].path;
}

function strides(sizes) {
  return [1, sizes[0], sizes[0] * sizes[1]];
}

// The outlines of all labels of a slice, by marching squares: the points between voxels of different labels.
function outlines(labels, tile, at) {
  const steps = strides(grid.shape);
  const [columns, rows] = [grid.shape[tile.h], grid.shape[tile.v]];
  const start = at * steps[tile.normal];
  const label = (i, j) =>
    i < 0 || j < 0 || i >= columns || j >= rows ? 0 : labels[start + i * steps[tile.h] + j * steps[tile.v]];
  const result = new Path2D();
  const middles = [[0.5, 0], [1, 0.5], [0.5, 1], [0, 0.5]]; // of the sides of a cell
  for (let j = -1; j < rows; j++) {
    for (let i = -1; i < columns; i++) {
      const first = label(i, j);
      const [second, third, fourth] = [label(i + 1, j), label(i + 1, j + 1), label(i, j + 1)];
      if (first === second && first === third && first === fourth) continue;
      const corners = [first, second, third, fourth];
      for (const value of new Set(corners)) {
        if (value === 0) continue;
        // Side n lies between corners n and n + 1; an outline crosses it where just one of these has the label.
        const crossed = middles.filter((_, n) => (corners[n] === value) !== (corners[(n + 1) % 4] === value));
        for (let n = 0; n + 1 < crossed.length; n += 2) {
          result.moveTo(i + crossed[n][0], j + crossed[n][1]);
          result.lineTo(i + crossed[n + 1][0], j + crossed[n + 1][1]);
        }
      }
    }
  }
  return result;
}

// The lines p + u(p) of a regular grid; what leaves the plane is not drawn.
function deformedGrid(tile, at) {
  const { scale, step: apart, shape } = facts.displacement;
  const vectors = arrays.displacement;
  const rank = grid.rank;
  const steps = strides(shape);
  const below = Math.min(Math.floor(at / apart), shape[tile.normal] - 1);
  const above = Math.min(below + 1, shape[tile.normal] - 1);
  const part = at / apart - below;
  const point = (i, j) => {
    const place = i * steps[tile.h] + j * steps[tile.v];
    const [a, b] = [below, above].map((n) => (place + n * steps[tile.normal]) * rank);
    const moved = (axis) => (vectors[a + axis] * (1 - part) + vectors[b + axis] * part) * scale;
    return [i * apart + moved(tile.h), j * apart + moved(tile.v)];
  };
  const longest = Math.max(...grid.shape.map((n, axis) => n * grid.spacing[axis]));
  const every = [0, 1, 2].map((axis) => Math.max(1, Math.round(longest / GRID_LINES / grid.spacing[axis] / apart)));
  const result = new Path2D();
  const line = (count, place) => {
    for (let n = 0; n < count; n++) result[n ? "lineTo" : "moveTo"](...place(n));
  };
  for (let j = 0; j < shape[tile.v]; j += every[tile.v]) line(shape[tile.h], (n) => point(n, j));
  for (let i = 0; i < shape[tile.h]; i += every[tile.h]) line(shape[tile.v], (n) => point(i, n));
  return result;
}

// Red, green, blue and opacity for a determinant's byte: clear at 1, blue below, red above, magenta where it folds.
function determinantColour(byte) {
  if (byte === 0) return [255, 0, 255, 255];
  const from1 = (2 * (byte - 1)) / 254 - 1;
  const opacity = 215 * Math.abs(from1) ** 0.7;
  return from1 < 0 ? [70, 130, 255, opacity] : [255, 70, 50, opacity];
}

function determinantPicture(tile, at) {
  const steps = strides(grid.shape);
  const [columns, rows] = [grid.shape[tile.h], grid.shape[tile.v]];
  const pixels = new ImageData(columns, rows);
  const start = at * steps[tile.normal];
  for (let j = 0, n = 0; j < rows; j++) {
    for (let i = 0; i < columns; i++, n += 4) {
      pixels.data.set(determinantColour(arrays.determinant[start + i * steps[tile.h] + j * steps[tile.v]]), n);
    }
  }
  const canvas = new OffscreenCanvas(columns, rows);
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

function paint() {
  const canvas = byId("overlay");
  const source = byId("lower");
  if (canvas.width !== source.width || canvas.height !== source.height) {
    canvas.width = source.width;
    canvas.height = source.height;
  }
  const ratio = canvas.width / canvas.clientWidth || 1;
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  const place = voxel();
  for (const tile of tiles()) {
    const at = place[tile.normal];
    context.save();
    context.beginPath();
    context.rect(tile.left, tile.top, tile.width, tile.height);
    context.clip();
    if (arrays.determinant && byId("determinant").checked) {
      context.setTransform(tile.matrix);
      context.imageSmoothingEnabled = false;
      context.drawImage(path("determinant", tile, at, () => determinantPicture(tile, at)), -0.5, -0.5);
      context.resetTransform();
    }
    for (const name of Object.keys(COLOURS)) {
      if (!arrays[name] || !byId(name).checked) continue;
      const make = () => (name === "displacement" ? deformedGrid(tile, at) : outlines(arrays[name], tile, at));
      const onScreen = new Path2D();
      onScreen.addPath(path(name, tile, at, make), tile.matrix);
      context.strokeStyle = COLOURS[name];
      context.lineWidth = LINE_WIDTH[name] * ratio;
      context.stroke(onScreen);
    }
    if (byId("crosshair").checked) drawCrosshair(context, tile, place, ratio);
    if (mode() === "wipe") {
      context.fillStyle = "#fffc";
      context.fillRect(tile.left + (tile.width * Number(byId("wipe").value)) / 100 - ratio / 2, tile.top, ratio, tile.height);
    }
    drawLetters(context, tile, ratio);
    context.restore();
  }
}

function drawCrosshair(context, tile, place, ratio) {
  const [x, y] = [tile.x.start + place[tile.h] * tile.x.scale, tile.y.start + place[tile.v] * tile.y.scale];
  const gap = 8 * ratio;
  context.fillStyle = "#6fd3ffd0";
  context.fillRect(tile.left, y - ratio / 2, x - gap - tile.left, ratio);
  context.fillRect(x + gap, y - ratio / 2, tile.left + tile.width - x - gap, ratio);
  context.fillRect(x - ratio / 2, tile.top, ratio, y - gap - tile.top);
  context.fillRect(x - ratio / 2, y + gap, ratio, tile.top + tile.height - y - gap);
}

function drawLetters(context, tile, ratio) {
  const names = grid.rank === 3 ? LETTERS[tile.plane] : grid.letters;
  if (!names.length) return;
  const edge = 11 * ratio;
  const [x, y] = [tile.left + tile.width / 2, tile.top + tile.height / 2];
  const places = [[tile.left + edge, y], [tile.left + tile.width - edge, y], [x, tile.top + edge], [x, tile.top + tile.height - edge]];
  context.font = `600 ${14 * ratio}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.lineWidth = 3 * ratio;
  context.strokeStyle = "#000c";
  context.fillStyle = "#ffd84a";
  names.forEach((letter, n) => {
    context.strokeText(letter, ...places[n]);
    context.fillText(letter, ...places[n]);
  });
}
