// Shared by all parts of the page: the data, words and numbers, axes, pictures, and work done only when it is looked at.
'use strict';
const report = JSON.parse(document.getElementById('data').textContent);

const parseNumber = value => ({inf: Infinity, '-inf': -Infinity, nan: NaN}[value] ?? value);
for (const metric of [...report.cells.flatMap(cell => cell.metrics), ...report.summary.worst_metrics]) {
  for (const key of ['value', 'bound', 'budget_used']) metric[key] = parseNumber(metric[key]);
}
for (const cell of report.cells) cell.latents_drift = cell.latents_drift.map(parseNumber);

const cellByIndex = new Map(report.cells.map(cell => [cell.index, cell]));
const sides = ['reference', 'optimized'];
const verdictOrder = ['failed', 'mistrusted', 'unsupported', 'skipped', 'passed'];
const verdictMark = {failed: '✕', mistrusted: '?', unsupported: '∅', skipped: '–', passed: '✓'};
const loudness = verdict => (verdictOrder.indexOf(verdict) + verdictOrder.length + 1) % (verdictOrder.length + 1);

/// h('p', {class: 'x', onclick: f}, 'text', node): text is always text, never markup.
function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.flat().filter(child => child !== null && child !== undefined && child !== ''));
  return node;
}
const byId = id => document.getElementById(id);

// Numbers.
const trim = (value, digits) => Number(value.toPrecision(digits)).toLocaleString('en', {maximumSignificantDigits: digits});
const superscript = value => String(value).replace(/[-0-9]/g, c => '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'['-0123456789'.indexOf(c)]);
function small(value) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? 'NaN' : value > 0 ? '∞' : '−∞';
  if (value === 0) return '0';
  if (Math.abs(value) >= 1e-3) return trim(value, 3);
  const [mantissa, exponent] = value.toExponential(1).split('e');
  return `${mantissa}\u00a0×\u00a010${superscript(Number(exponent))}`;
}
const ms = value => value >= 10000 ? `${trim(value / 1000, 3)} s` : `${trim(value, value >= 1000 ? 4 : 3)} ms`;
const ratio = value => `${value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)}×`;
const bytes = value => value >= 1e9 ? `${(value / 1e9).toFixed(2)} GB` : value >= 1e6 ? `${(value / 1e6).toFixed(0)} MB` : `${(value / 1e3).toFixed(0)} kB`;
function percent(share) {
  if (!Number.isFinite(share)) return 'all';
  const value = share * 100;
  return value === 0 ? '0 %' : value < 0.01 ? '< 0.01 %' : `${trim(value, 2)} %`;
}
const range = (interval, format) => `${format(interval.low)} – ${format(interval.high)}`;
const plural = (count, word) => `${count.toLocaleString('en')} ${word}${count === 1 ? '' : 's'}`;

const metricLabel = name => ({ssim: 'SSIM', lpips: 'LPIPS', psnr: 'PSNR', latents_max_abs: 'Largest latent difference', image_max_abs: 'Largest pixel difference'}[name] ?? name.replaceAll('_', ' '));
function metricText(name, value) {
  if (name === 'psnr') return Number.isFinite(value) ? `${value.toFixed(1)} dB` : value > 0 ? '∞ dB' : small(value);
  if (name !== 'ssim' || !(value > 0.9)) return small(value);
  if (value >= 1) return '1';
  if (value > 1 - 1e-9) return '≈ 1';
  return String(Number(value.toFixed(Math.min(9, Math.max(4, Math.ceil(-Math.log10(1 - value)) + 1)))));
}
const metricOf = (cell, name) => cell.metrics.find(metric => metric.name === name);
const metricNames = [...new Set(report.cells.flatMap(cell => cell.metrics.map(metric => metric.name)))];
const budgetOf = cell => cell.metrics.reduce((worst, metric) => metric.bound === null ? worst : Math.max(worst, metric.budget_used), -1);

// Cells and axes.
const side = (cell, name) => cell.implementations.find(row => row.implementation === name);
const axes = report.axes.length ? report.axes.map(({name, values}) => ({name, values}))
  : [...new Set(report.cells.flatMap(cell => Object.keys(cell.axes)))].map(name => ({name, values: [...new Set(report.cells.map(cell => cell.axes[name]))]}));
const variedAxes = axes.filter(axis => axis.values.length > 1);
const axisLabel = name => name.replaceAll('_', ' ');
const cellName = cell => Object.entries(cell.axes).filter(([name]) => variedAxes.length === 0 || variedAxes.some(axis => axis.name === name))
  .map(([name, value]) => `${axisLabel(name)} ${value}`).join(' · ') || `cell ${cell.index}`;
const badge = verdict => h('span', {class: `badge ${verdict}`}, `${verdictMark[verdict] ?? '!'} ${verdict}`);
const cellLink = (index, text) => h('a', {href: `#cell-${index}`}, text ?? `cell ${index}`);

/// A labelled drop-down. options: [value, text] pairs.
function select(label, options, value, onchange) {
  const box = h('select', {onchange: () => onchange(box.value)}, options.map(([id, text]) => h('option', {value: id, selected: id === value}, text)));
  return h('label', {class: 'select'}, h('span', {}, label), box);
}

// Pictures: data addresses stay plain text in script elements until one is shown.
const pictureAddress = number => number === null || number === undefined ? null : byId(`picture-${number}`)?.textContent ?? null;
const pictureKinds = ['source', 'reference', 'optimized', 'difference'];
function picture(number, alt) {
  const address = pictureAddress(number);
  return address ? h('img', {src: address, alt, decoding: 'async'}) : h('span', {class: 'no-picture'}, 'no picture');
}

const pixels = new Map();
async function pixelsOf(number) {
  if (!pixels.has(number)) {
    const image = new Image();
    image.src = pictureAddress(number);
    await image.decode();
    const canvas = h('canvas', {width: image.naturalWidth, height: image.naturalHeight});
    const context = canvas.getContext('2d', {willReadFrequently: true});
    context.drawImage(image, 0, 0);
    if (pixels.size > 64) pixels.clear();
    pixels.set(number, context.getImageData(0, 0, canvas.width, canvas.height));
  }
  return pixels.get(number);
}

/// Draws |a - b| * gain per channel. gain 0 takes the largest power of two that saturates nothing. Resolves to {gain, largest}.
async function drawDifference(canvas, a, b, gain) {
  const [left, right] = [await pixelsOf(a), await pixelsOf(b)];
  if (left.width !== right.width || left.height !== right.height) return {gain: 0, largest: NaN};
  const out = new ImageData(left.width, left.height);
  let largest = 0;
  for (let i = 0; i < out.data.length; ++i) {
    out.data[i] = i % 4 === 3 ? 255 : Math.abs(left.data[i] - right.data[i]);
    if (i % 4 !== 3 && out.data[i] > largest) largest = out.data[i];
  }
  const used = gain || (largest ? 2 ** Math.floor(Math.log2(255 / largest)) : 1);
  for (let i = 0; i < out.data.length; ++i) if (i % 4 !== 3) out.data[i] = Math.min(255, out.data[i] * used);
  canvas.width = out.width;
  canvas.height = out.height;
  canvas.getContext('2d').putImageData(out, 0, 0);
  return {gain: used, largest};
}

/// One of a cell's four pictures with its label; the difference states its gain and the largest difference in it.
function tile(cell, kind, gain = 0) {
  const {reference, optimized} = cell.pictures;
  const label = h('figcaption', {}, kind);
  if (kind !== 'difference') {
    return h('figure', {class: 'tile'}, picture(cell.pictures[kind], `${kind} picture, ${cellName(cell)}`), label);
  }
  if (reference === null || optimized === null) return h('figure', {class: 'tile'}, picture(null), label);
  const canvas = h('canvas', {role: 'img', 'aria-label': `difference of reference and optimized, ${cellName(cell)}`});
  drawDifference(canvas, reference, optimized, gain).then(({gain: used, largest}) => {
    label.textContent = Number.isNaN(largest) ? 'sizes differ' : largest === 0 ? 'difference: none' : `difference × ${used}, largest ${largest}/255`;
  }).catch(() => { label.textContent = 'difference: unreadable'; });
  return h('figure', {class: 'tile'}, canvas, label);
}

// Work that waits until its place is about to be seen. Printing asks for all of it.
const waiting = new Map();
const observer = new IntersectionObserver(entries => {
  for (const entry of entries) if (entry.isIntersecting) doNow(entry.target);
}, {rootMargin: '500px'});
function doNow(node) {
  const work = waiting.get(node);
  waiting.delete(node);
  observer.unobserve(node);
  if (work) work();
}
function whenSeen(node, work) {
  waiting.set(node, work);
  observer.observe(node);
}
addEventListener('beforeprint', () => { while (waiting.size) doNow(waiting.keys().next().value); });
