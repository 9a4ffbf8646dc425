// The first screen: failures, then "how much faster, how different, how much memory", then one cell to look at.
function renderAlerts() {
  const {reasons, verdicts} = report.summary;
  const failed = reasons.filter(row => row.verdict === 'failed');
  if (!failed.length) return;
  byId('alerts').append(h('div', {class: 'alert', role: 'alert'},
    h('p', {class: 'alert-title'}, `✕ ${plural(verdicts.failed, 'cell')} of ${report.summary.cells} failed.`),
    h('p', {}, 'They show no latency, and no figure for speed includes them.'),
    h('ul', {}, failed.slice(0, 5).map(row => h('li', {}, cellList(row.cells), ': ', row.reason || 'no reason given'))),
    failed.length > 5 ? h('p', {}, `and ${failed.length - 5} more reasons; the table below lists every cell.`) : null));
}

function cellList(indices) {
  const shown = indices.slice(0, 3).flatMap((index, i) => [i ? ', ' : '', cellLink(index, i ? String(index) : `cell ${index}`)]);
  return indices.length > 3 ? [...shown, ` and ${indices.length - 3} more`] : shown;
}

const card = (question, ...content) => h('article', {class: 'card'}, h('h2', {}, question), ...content);
const big = (value, words) => h('p', {class: 'big'}, h('strong', {}, value), words ? h('span', {}, words) : null);

/// Every timed cell as a dot on a logarithmic line, with 1× marked.
function speedupStrip() {
  const timed = report.cells.filter(cell => cell.speedup);
  const logs = timed.map(cell => Math.log(cell.speedup.median));
  const [low, high] = [Math.min(0, ...logs) - 0.05, Math.max(0, ...logs) + 0.05];
  const left = log => `left:${(100 * (log - low) / (high - low)).toFixed(2)}%`;
  return h('div', {class: 'strip', 'aria-hidden': 'true'},
    h('i', {class: 'one', style: left(0)}, h('span', {}, '1×')),
    timed.map((cell, i) => h('i', {class: 'dot', style: left(logs[i]), title: `${cellName(cell)}: ${ratio(cell.speedup.median)}`})));
}

function speedCard() {
  const {speedup, timed, slowest, fastest, speedup_verdicts: verdicts} = report.summary;
  if (!speedup) return card('How much faster?', big('—', 'no cell was timed'));
  const word = speedup.low > 1 ? 'faster' : speedup.high < 1 ? 'slower than the reference' : 'not told apart';
  return card('How much faster?', big(ratio(speedup.median), word),
    h('p', {}, `interval ${range(speedup, ratio)}, geometric mean of ${plural(timed, 'timed cell')}`),
    speedupStrip(),
    h('p', {class: 'muted'}, 'slowest ', cellLink(slowest.cell, ratio(slowest.value)), ' · fastest ', cellLink(fastest.cell, ratio(fastest.value)),
      ...Object.entries(verdicts).map(([name, count]) => ` · ${count}\u00a0${name}`)));
}

function budgetBar(metric) {
  if (metric.bound === null) return h('p', {class: 'muted'}, 'not judged');
  const share = Number.isFinite(metric.budget_used) ? metric.budget_used : 1;
  return h('div', {class: metric.passed ? 'budget' : 'budget over'},
    h('div', {class: 'track', 'aria-hidden': 'true'}, h('i', {style: `width:${Math.max(0.5, Math.min(100, 100 * share)).toFixed(1)}%`})),
    h('p', {class: 'muted'}, `${percent(metric.budget_used)} of the tolerance used, bound ${metricText(metric.name, metric.bound)}${metric.passed ? '' : ', missed'}`));
}

/// Where nines fill the card, their distance from 1 says more.
const nearOne = metric => metric.name.startsWith('ssim') && metric.value < 1 && metric.value > 0.9999 ? `1 − ${small(1 - metric.value)}` : metricText(metric.name, metric.value);

function differenceCard() {
  const worst = report.summary.worst_metrics;
  if (!worst.length) return card('How different?', big('—', 'nothing was compared'));
  const first = worst.filter(metric => metric.name === 'ssim' || metric.name === 'lpips');
  const shown = first.length ? first : worst.slice(0, 2);
  const others = worst.filter(metric => !shown.includes(metric));
  return card('How different?',
    h('div', {class: 'pair'}, shown.map(metric => h('div', {},
      h('p', {class: 'big'}, h('strong', {}, nearOne(metric))),
      h('p', {}, `worst ${metricLabel(metric.name)}, `, cellLink(metric.cell)), budgetBar(metric)))),
    others.length ? h('p', {class: 'muted'}, others.flatMap((metric, i) => [i ? ' · ' : '', `${metricLabel(metric.name)} `, cellLink(metric.cell, metricText(metric.name, metric.value))])) : null);
}

function memoryCard() {
  const peaks = sides.map(name => report.summary.peaks.find(peak => peak.implementation === name));
  const bars = (key, words) => {
    const largest = Math.max(...peaks.map(peak => peak?.[key] ?? 0));
    return largest === 0 ? [] : [h('p', {class: 'muted'}, words), peaks.map((peak, i) => !peak ? null : h('div', {class: `memory ${sides[i]}`},
      h('span', {}, sides[i]), h('div', {class: 'track', 'aria-hidden': 'true'}, h('i', {style: `width:${(100 * peak[key] / largest).toFixed(1)}%`})),
      h('span', {class: 'number'}, bytes(peak[key]))))].flat();
  };
  const key = peaks.some(peak => peak?.peak_device_bytes) ? 'peak_device_bytes' : 'peak_host_bytes';
  const [reference, optimized] = peaks.map(peak => peak?.[key] ?? 0);
  if (!optimized && !reference) return card('How much memory?', big('—', 'not measured'));
  const change = optimized / reference - 1;
  const words = !reference || !optimized ? '' : Math.abs(change) < 0.005 ? 'as much as the reference' : `${percent(Math.abs(change))} ${change < 0 ? 'less' : 'more'} than the reference`;
  return card('How much memory?', big(bytes(optimized), words), bars('peak_device_bytes', 'peak on the device'), bars('peak_host_bytes', 'peak on the host'));
}

function verdictCard() {
  const {verdicts, cells, reasons, promises, promises_held: held} = report.summary;
  const missing = axes.reduce((count, axis) => count * axis.values.length, 1) - cells;
  const present = Object.entries(verdicts).filter(([, count]) => count > 0).sort((a, b) => loudness(a[0]) - loudness(b[0]));
  return card('Can it be trusted?', big(`${verdicts.passed ?? 0} of ${cells}`, cells === 1 ? 'cell passed' : 'cells passed'),
    h('div', {class: 'verdict-bar', 'aria-hidden': 'true'}, present.map(([name, count]) => h('i', {class: name, style: `flex-grow:${count}`}))),
    h('ul', {class: 'reasons'}, present.map(([name, count]) => h('li', {}, badge(name), ` ${count}`,
      reasons.filter(row => row.verdict === name).slice(0, 2).map(row => h('span', {class: 'muted'}, ' ', cellList(row.cells), `: ${row.reason || 'no reason given'}`))))),
    missing > 0 ? h('p', {class: 'muted'}, `${plural(missing, 'combination')} of the axes not measured: the sweep is unfinished, or leaves them out`) : null,
    promises ? h('p', {}, h('a', {href: '#promises'}, `${held} of ${promises} promises hold`)) : null);
}

/// The cell that spent most of its tolerance, or the loudest one with pictures.
function hero() {
  const withPictures = report.cells.filter(cell => cell.pictures.optimized !== null);
  const byBudget = withPictures.sort((a, b) => budgetOf(b) - budgetOf(a) || loudness(a.verdict) - loudness(b.verdict));
  const cell = byBudget[0];
  if (!cell) return null;
  return h('section', {class: 'hero'}, h('h2', {}, 'The cell that differs most'),
    h('div', {class: 'tiles'}, pictureKinds.map(kind => tile(cell, kind))),
    h('p', {}, badge(cell.verdict), ' ', cellLink(cell.index, cellName(cell)), ...cell.metrics.slice(0, 2).map(metric => ` · ${metricLabel(metric.name)} ${metricText(metric.name, metric.value)}`)),
    byBudget.length < 3 ? null : h('table', {class: 'compact'}, h('thead', {}, h('tr', {}, ['and then', ...metricNames.slice(0, 2).map(metricLabel), 'tolerance used'].map(text => h('th', {scope: 'col'}, text)))),
      h('tbody', {}, byBudget.slice(1, 6).map(next => h('tr', {}, h('th', {scope: 'row'}, cellLink(next.index, cellName(next))), metricNames.slice(0, 2).map(name => h('td', {}, metricOf(next, name) ? metricText(name, metricOf(next, name).value) : '—')), h('td', {}, budgetOf(next) < 0 ? '—' : percent(budgetOf(next))))))));
}

function renderFigures() {
  byId('figures').append(speedCard(), differenceCard(), memoryCard(), verdictCard());
  const wanted = ['date', 'model', 'device', 'dtype', 'processor', 'cpu', 'gpu', 'threads', 'libtorch', 'commit'];
  const fixed = axes.filter(axis => axis.values.length === 1 && axis.values[0].length < 30).map(axis => [axisLabel(axis.name), axis.values[0]]);
  const known = Object.entries(report.environment).filter(([name, value]) => value && wanted.includes(name.toLowerCase()));
  byId('subtitle').textContent = [...fixed, ...known].map(([name, value]) => `${name} ${value}`).join(' · ');
  byId('made-by').textContent = report.command;
  byId('environment').append(h('dl', {class: 'environment'}, Object.entries(report.environment).map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value)))));
  byId('notes').append(...report.notes.map(note => h('p', {}, note)));
}
