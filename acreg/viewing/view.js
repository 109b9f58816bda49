// The page of a registered pair. NiiVue draws the slices of the images, on two canvases that lie one above the other:
// the fixed image below, the moving image above. Fading, wiping, blinking and the checkerboard are the opacity and the
// clip path of the upper canvas. A third canvas on top has the outlines, the grid, the determinant and the crosshair.
//
// The axes of all arrays are those of the screen: x to the right (of the patient in 3-D), y and z upward. NiiVue gets
// images without a position; `facts.grid.world` and `facts.grid.index` take a shown voxel to mm and to the voxel of the
// file.

const { Niivue, NVImage } = globalThis.niivue;
const byId = (id) => document.getElementById(id);
const facts = JSON.parse(byId("facts").textContent);
const grid = facts.grid;
const COLOURS = { fixed_labels: "#3ddc84", warped_labels: "#ff9a1f", before_labels: "#d08cff", displacement: "#4aa8ff" };
const GRID_LINES = 28; // along the longest side
const LINE_WIDTH = { fixed_labels: 2, warped_labels: 2, before_labels: 2, displacement: 1 };
// Horizontal, vertical and normal axis of each plane: axial, coronal, sagittal.
const PLANES = [[0, 1, 2], [0, 2, 1], [1, 2, 0]];
const LETTERS = [["R", "L", "A", "P"], ["R", "L", "S", "I"], ["A", "P", "S", "I"]]; // left, right, top, bottom

// --- the content of the page -----------------------------------------------------------------------------------------

async function unpacked(name) {
  const element = byId(`data-${name}`);
  const text = atob(element.textContent);
  element.remove();
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

async function image(name) {
  const { slope, lowest, low, high, header } = facts[name];
  // After the header of the NIfTI file come the low bytes of all numbers, then the high bytes.
  const packed = new Uint8Array(await unpacked(name));
  const count = (packed.length - header) / 2;
  const numbers = new Uint16Array(count);
  for (let i = 0; i < count; i++) numbers[i] = packed[header + i] + 256 * packed[header + count + i];
  const volume = await NVImage.loadFromFile({
    file: new File([packed.subarray(0, header), numbers], `${name}.nii`),
    cal_min: (low - lowest) / slope,
    cal_max: (high - lowest) / slope,
  });
  volume.colormap = "gray";
  return volume;
}

const offset = (voxel) => voxel[0] + grid.shape[0] * (voxel[1] + grid.shape[1] * voxel[2]);
const applied = (matrix, point) => [0, 1, 2].map((row) => matrix[row].reduce((sum, entry, i) => sum + entry * (i < 3 ? point[i] : 1), 0));

// --- the two viewers -------------------------------------------------------------------------------------------------

const options = {
  isRadiologicalConvention: grid.rank === 3, // a picture is shown as it is stored
  sagittalNoseLeft: true,
  multiplanarShowRender: 0,
  multiplanarPadPixels: 6,
  crosshairWidth: 0,
  isOrientationTextVisible: false,
  isForceMouseClickToVoxelCenters: true,
  dragAndDropEnabled: false,
  dragMode: 3, // the right button moves the picture
  loadingText: "",
  logLevel: "error",
  sliceType: grid.rank === 3 ? 3 : 0,
};
const lower = new Niivue(options);
const upper = new Niivue({ ...options, interactive: false });
const volumes = {};
const arrays = {};
let shown = "warped";
let active = 0; // the plane that was clicked last

function voxel() {
  return [0, 1, 2].map((axis) => {
    const place = Math.round(lower.scene.crosshairPos[axis] * grid.shape[axis] - 0.5);
    return Math.min(Math.max(place, 0), grid.shape[axis] - 1);
  });
}

function goTo(place) {
  lower.scene.crosshairPos = place.map((at, axis) => {
    const inside = Math.min(Math.max(Math.round(at), 0), grid.shape[axis] - 1);
    return (inside + 0.5) / grid.shape[axis];
  });
  lower.drawScene();
}

function step(axis, by) {
  const place = voxel();
  place[axis] += by;
  goTo(place);
}

// Whatever moves the slices of the lower viewer draws it: then the upper one and the overlays follow.
const drawLower = lower.drawScene.bind(lower);
lower.drawScene = () => {
  const text = drawLower();
  if (upper.volumes.length) {
    upper.scene.crosshairPos = [...lower.scene.crosshairPos];
    upper.scene.pan2Dxyzmm = [...lower.scene.pan2Dxyzmm];
    upper.opts.sliceType = lower.opts.sliceType;
    upper.drawScene();
    compare();
    paint();
    tell();
  }
  return text;
};

function zoom(factor) {
  const old = lower.scene.pan2Dxyzmm;
  const size = factor ? Math.min(Math.max(old[3] * factor, 1), 20) : 1;
  const centre = lower.frac2mm(lower.scene.crosshairPos);
  // The point under the crosshair stays where it is; at the smallest size, the picture is in its place.
  lower.scene.pan2Dxyzmm = size === 1 ? [0, 0, 0, 1] : [...[0, 1, 2].map((i) => old[i] + (old[3] - size) * centre[i]), size];
  lower.drawScene();
}

function setPlanes(type) {
  lower.opts.sliceType = type;
  document.querySelector(`[name=planes][value="${type}"]`).checked = true;
  lower.drawScene();
}

// --- geometry of the tiles -------------------------------------------------------------------------------------------

// For each slice on the screen: its rectangle in pixels of the canvas, and where its first and last voxels lie.
function tiles() {
  return lower.screenSlices.map((slice, index) => {
    const [left, top, width, height] = slice.leftTopWidthHeight;
    const [h, v, normal] = PLANES[slice.axCorSag];
    // Two points well inside: NiiVue knows none at the very border of a tile.
    const first = lower.screenXY2TextureFrac(left + width / 4, top + (3 * height) / 4, index, false);
    const last = lower.screenXY2TextureFrac(left + (3 * width) / 4, top + height / 4, index, false);
    const along = (axis, from, length) => {
      const [a, b] = [first[axis], last[axis]].map((part) => part * grid.shape[axis] - 0.5);
      const scale = length / (b - a);
      return { scale, start: from - a * scale };
    };
    const [x, y] = [along(h, left + width / 4, width / 2), along(v, top + (3 * height) / 4, -height / 2)];
    return { left, top, width, height, h, v, normal, plane: slice.axCorSag, x, y,
      matrix: new DOMMatrix([x.scale, 0, 0, y.scale, x.start, y.start]) };
  });
}

function tileAt(event) {
  const box = byId("lower").getBoundingClientRect();
  const ratio = byId("lower").width / box.width;
  const [x, y] = [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
  return tiles().find((t) => x >= t.left && x <= t.left + t.width && y >= t.top && y <= t.top + t.height);
}

// --- comparing -------------------------------------------------------------------------------------------------------

const mode = () => document.querySelector("[name=mode]:checked").value;
let blinking = 0;
let hidden = false;

function compare() {
  const canvas = byId("upper");
  const ratio = canvas.width / canvas.clientWidth || 1;
  const kind = mode();
  const share = Number(byId(kind).value);
  canvas.style.opacity = kind === "fade" ? share / 100 : 1;
  canvas.style.visibility = kind === "blink" && hidden ? "hidden" : "visible";
  const rectangle = (x, y, w, h) => `M${x / ratio} ${y / ratio}h${w / ratio}v${h / ratio}h${-w / ratio}z`;
  let path = "";
  if (kind === "wipe") {
    const right = 1 - share / 100; // the part of the moving image
    path = tiles().map((t) => rectangle(t.left + t.width * (1 - right), t.top, t.width * right, t.height)).join("");
  }
  if (kind === "checkerboard") {
    for (const t of tiles()) {
      const side = Math.max(t.width, t.height) / share;
      for (let row = 0; row * side < t.height; row++) {
        for (let column = row % 2; column * side < t.width; column += 2) {
          const [x, y] = [column * side, row * side];
          path += rectangle(t.left + x, t.top + y, Math.min(side, t.width - x), Math.min(side, t.height - y));
        }
      }
    }
  }
  canvas.style.clipPath = path ? `path("${path}")` : "none";
  const other = shown === "warped" ? "moving, after" : "moving, before";
  byId("caption").textContent =
    kind === "fade" ? (share === 0 ? "fixed" : share === 100 ? other : `${100 - share} % fixed, ${share} % ${other}`)
    : kind === "wipe" ? `left fixed, right ${other}`
    : kind === "blink" ? (hidden ? "fixed" : other)
    : `fixed and ${other}`;
}

function setMode() {
  const kind = mode();
  for (const slider of document.querySelectorAll(".slider")) slider.hidden = slider.dataset.mode !== kind;
  clearInterval(blinking);
  hidden = false;
  if (kind === "blink") {
    blinking = setInterval(() => {
      hidden = !hidden;
      compare();
    }, Number(byId("blink").value));
  }
  compare();
  paint();
}

function choose(name) {
  shown = name;
  document.querySelector(`[name=image][value=${name}]`).checked = true;
  for (const word of document.querySelectorAll(".other")) word.textContent = name === "warped" ? "after" : "before";
  upper.volumes = [volumes[name]];
  upper.updateGLVolume();
  lower.drawScene();
}

function swap() {
  if (mode() !== "fade") {
    document.querySelector("[name=mode][value=fade]").checked = true;
    setMode();
  }
  byId("fade").value = Number(byId("fade").value) > 50 ? 0 : 100;
  compare();
}

// --- overlays --------------------------------------------------------------------------------------------------------

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
      const corners = [label(i, j), label(i + 1, j), label(i + 1, j + 1), label(i, j + 1)];
      if (corners.every((value) => value === corners[0])) continue;
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

// --- the numbers at the crosshair ------------------------------------------------------------------------------------

const fixedPoint = (numbers) => numbers.map((number) => (Math.round(number * 100) / 100 + 0).toFixed(2)).join(", ");

function tell() {
  const place = voxel();
  const world = applied(grid.world, place);
  if (grid.patient) {
    byId("ras").textContent = fixedPoint(world);
    byId("lps").textContent = fixedPoint([-world[0], -world[1], world[2]]);
  } else byId("xy").textContent = fixedPoint(world.slice(0, 2));
  const index = applied(grid.index, place).slice(0, grid.rank).map((number) => Math.round(number));
  if (document.activeElement !== byId("voxel")) byId("voxel").value = index.join(", ");
  const n = offset(place);
  for (const name of ["fixed", "warped", "before"]) {
    const { slope, lowest } = facts[name];
    let text = String(Number((volumes[name].img[n] * slope + lowest).toPrecision(5)));
    const labels = arrays[`${name}_labels`];
    if (labels) text += `, label ${facts[`${name}_labels`].values[labels[n]]}`;
    byId(`value-${name}`).textContent = text;
  }
  if (arrays.determinant) {
    const byte = arrays.determinant[n];
    const { high } = facts.determinant;
    byId("value-determinant").textContent =
      byte === 0 ? "folded" : byte === 255 ? `${high} or more` : (((byte - 1) / 254) * high).toFixed(2);
  }
}

function goToIndex(text) {
  const numbers = text.split(/[\s,;]+/).filter(Boolean).map(Number);
  if (numbers.length !== grid.rank || numbers.some((number) => !Number.isFinite(number))) return false;
  // The inverse of `grid.index`.
  const m = grid.index;
  const forward = new DOMMatrix([m[0][0], m[1][0], m[2][0], 0, m[0][1], m[1][1], m[2][1], 0, m[0][2], m[1][2], m[2][2], 0,
    m[0][3], m[1][3], m[2][3], 1]);
  const { x, y, z } = forward.inverse().transformPoint(new DOMPoint(numbers[0], numbers[1], numbers[2] ?? 0));
  goTo([x, y, z]);
  return true;
}

function showLegend() {
  const { folded, voxels: count, lowest, highest } = facts.determinant;
  const context = byId("colours").getContext("2d");
  const pixels = new ImageData(256, 12);
  for (let n = 0; n < 256 * 12; n++) pixels.data.set(determinantColour(Math.max(1, n % 256)), 4 * n);
  context.putImageData(pixels, 0, 0);
  byId("extremes").textContent = `Lowest ${lowest.toFixed(2)}, highest ${highest.toFixed(2)}.`;
  byId("folded").textContent = folded
    ? `folded (0 or less): ${folded.toLocaleString("en")} of the ${count.toLocaleString("en")} voxels shown`
    : "no voxel is folded (0 or less)";
  byId("next-fold").hidden = !folded;
  byId("next-fold").onclick = () => {
    const start = offset(voxel()) + 1;
    let n = arrays.determinant.indexOf(0, start);
    if (n < 0) n = arrays.determinant.indexOf(0);
    const [columns, rows] = grid.shape;
    goTo([n % columns, Math.floor(n / columns) % rows, Math.floor(n / columns / rows)]);
  };
}

// --- events ----------------------------------------------------------------------------------------------------------

function listen() {
  for (const input of document.querySelectorAll("[name=mode]")) input.onchange = setMode;
  for (const input of document.querySelectorAll("[name=image]")) input.onchange = () => choose(input.value);
  for (const input of document.querySelectorAll("[name=planes]")) input.onchange = () => setPlanes(Number(input.value));
  for (const input of document.querySelectorAll(".slider input")) {
    input.oninput = input.id === "blink" ? setMode : () => { compare(); paint(); };
  }
  for (const input of document.querySelectorAll("#overlays input, #crosshair")) input.onchange = overlaysChanged;
  byId("smooth").onchange = () => {
    for (const viewer of [lower, upper]) viewer.setInterpolation(!byId("smooth").checked);
  };
  byId("zoom-in").onclick = () => zoom(1.25);
  byId("zoom-out").onclick = () => zoom(0.8);
  byId("zoom-reset").onclick = () => zoom(0);
  byId("voxel").onchange = () => { if (!goToIndex(byId("voxel").value)) tell(); };
  byId("voxel").onkeydown = (event) => { if (event.key === "Enter") byId("voxel").blur(); };
  byId("voxel").onblur = tell;
  for (const [role, names] of [["fixed", ["fixed"]], ["moving", ["warped", "before"]]]) {
    for (const end of ["low", "high"]) {
      const input = byId(`${role}-${end}`);
      input.value = Number(facts[names[0]][end].toPrecision(5));
      input.onchange = () => setWindow(role, names);
    }
  }
  const stage = byId("stage");
  let wheel = 0;
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    event.stopPropagation();
    wheel = Math.abs(event.deltaY) >= 40 ? event.deltaY : wheel + event.deltaY; // small steps of a touchpad are added up
    const tile = tileAt(event);
    if (!tile || Math.abs(wheel) < 40) return;
    if (event.ctrlKey || event.metaKey) zoom(wheel < 0 ? 1.1 : 1 / 1.1);
    else step(tile.normal, wheel < 0 ? 1 : -1);
    wheel = 0;
  }, { capture: true, passive: false });
  stage.addEventListener("mousedown", (event) => { active = tileAt(event)?.plane ?? active; }, true);
  stage.addEventListener("dblclick", (event) => {
    event.stopPropagation();
    const tile = tileAt(event);
    if (tile && grid.rank === 3) setPlanes(lower.opts.sliceType === 3 ? tile.plane : 3);
  }, true);
  document.addEventListener("keydown", pressed, true);
}

function overlaysChanged() {
  byId("legend").hidden = !(arrays.determinant && byId("determinant").checked);
  paint();
}

function setWindow(role, names) {
  const [low, high] = ["low", "high"].map((end) => Number(byId(`${role}-${end}`).value));
  if (!(high > low)) return;
  for (const name of names) {
    const { slope, lowest } = facts[name];
    volumes[name].cal_min = (low - lowest) / slope;
    volumes[name].cal_max = (high - lowest) / slope;
  }
  (role === "fixed" ? lower : upper).updateGLVolume();
  lower.drawScene();
}

function pressed(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const target = event.target;
  if (target.matches("input[type=number], #voxel")) return;
  const free = !target.matches("input, button, summary"); // else arrows and space are those of the control
  const [h, v, normal] = PLANES[active];
  const right = grid.rank === 3 ? -1 : 1; // in 3-D, x and y grow to the left of the screen
  const check = (id) => () => { const box = byId(id); if (!box.closest("[hidden]")) { box.checked = !box.checked; overlaysChanged(); } };
  const compareBy = (kind) => () => { document.querySelector(`[name=mode][value=${kind}]`).checked = true; setMode(); };
  const anywhere = {
    f: compareBy("fade"), w: compareBy("wipe"), b: compareBy("blink"), c: compareBy("checkerboard"),
    a: () => choose(shown === "warped" ? "before" : "warped"), g: check("displacement"), j: check("determinant"),
    "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), 0: () => zoom(0),
  };
  const elsewhere = {
    " ": swap, ArrowLeft: () => step(h, -right), ArrowRight: () => step(h, right), ArrowUp: () => step(v, 1),
    ArrowDown: () => step(v, -1), PageUp: () => step(normal, 1), PageDown: () => step(normal, -1),
  };
  const action = anywhere[event.key.toLowerCase()] ?? (free ? elsewhere[event.key] : undefined);
  if (target.closest?.("#stage")) event.stopPropagation(); // NiiVue has keys of its own
  if (!action) return;
  event.preventDefault();
  action();
}

// --- start -----------------------------------------------------------------------------------------------------------

async function start() {
  document.body.classList.add(grid.patient ? "patient" : "picture");
  if (grid.rank === 2) document.body.classList.add("flat");
  byId("convention").textContent =
    grid.rank === 3 || grid.letters.length
      ? "Radiological convention: the patient's left is on the right of the screen."
      : "Shown as stored: this image does not say where the patient's left is.";
  byId("unit").textContent = grid.unit;
  document.body.classList.toggle("pixels", grid.unit === "px"); // then x and y are those of the pixel
  byId("voxel-name").textContent = grid.rank === 3 ? "voxel i, j, k" : "pixel i, j";
  for (const element of document.querySelectorAll("[data-needs]")) element.hidden = !facts[element.dataset.needs];
  byId("overlays").hidden = ![...byId("overlays").querySelectorAll("[data-needs]")].some((element) => !element.hidden);
  byId("summary").hidden = byId("summary").childElementCount < 2;
  await lower.attachToCanvas(byId("lower"));
  await upper.attachToCanvas(byId("upper"));
  byId("upper").parentElement.style.backgroundColor = "transparent";
  for (const name of ["fixed", "warped", "before"]) volumes[name] = await image(name);
  for (const name of ["fixed_labels", "warped_labels", "before_labels"]) {
    if (facts[name]) arrays[name] = new (facts[name].bytes === 1 ? Uint8Array : Uint16Array)(await unpacked(name));
  }
  if (facts.determinant) {
    arrays.determinant = new Uint8Array(await unpacked("determinant"));
    arrays.displacement = new Int16Array(await unpacked("displacement"));
    showLegend();
  }
  lower.addVolume(volumes.fixed);
  upper.addVolume(volumes.warped);
  listen();
  setMode();
  choose("warped");
  goTo(grid.at);
  byId("message").hidden = true;
  document.documentElement.dataset.ready = "yes";
}

start().catch((error) => {
  byId("message").textContent = `The images cannot be shown: ${error.message ?? error}. This page needs a browser with WebGL 2.`;
  throw error;
});
