// The numbers at the crosshair, the controls, mouse and keys, and the start.

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
    const { slope, lowest, highest, cut, digits } = facts[name];
    const value = volumes[name].img[n] * slope + lowest;
    let text = String(Number(value.toPrecision(digits)));
    if (cut[0] && value - lowest < slope / 2) text += " or less";
    if (cut[1] && highest - value < slope / 2) text += " or more";
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
      input.value = Number(facts[names[0]][end].toPrecision(facts[names[0]].digits));
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
  byId("message").textContent = `The images cannot be shown (${error.message ?? error}). A browser with WebGL 2 is needed.`;
  throw error;
});
