// The page of a registered pair: the images, the two viewers, and how they are compared. overlays.js and controls.js
// continue this script.
//
// NiiVue draws the slices of the images, on two canvases that lie one above the other: the fixed image below, the moving
// image above. Fading, wiping, blinking and the checkerboard are the opacity and the clip path of the upper canvas. A
// third canvas on top has the outlines, the grid, the determinant and the crosshair.
//
// The axes of all arrays are those of the screen: x to the right (of the patient in 3-D), y and z upward. NiiVue gets
// images without a position; `facts.grid.world` and `facts.grid.index` take a shown voxel to mm and to the voxel of the
// file.

const { Niivue, NVImage } = globalThis.niivue;
const byId = (id) => document.getElementById(id);
const facts = JSON.parse(byId("facts").textContent);
const grid = facts.grid;
// Horizontal, vertical and normal axis of each plane: axial, coronal, sagittal.
const PLANES = [[0, 1, 2], [0, 2, 1], [1, 2, 0]];

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
let active = 0; // the plane in which the arrows move: the one that was clicked last or is shown alone

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
  if (PLANES[type]) active = type;
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
