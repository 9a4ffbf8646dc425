// Plots over each axis, where the time goes, and the promises. Drawn by plotly.js, only when they come into view.
const plots = new Map();  // node -> function that draws it again, for a change of colour scheme

const colour = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const symbols = {reference: 'square', optimized: 'circle'};
const fade = (hex, alpha) => `${hex}${Math.round(alpha * 255).toString(16).padStart(2, '0')}`;

function layout(changes) {
  const axis = {gridcolor: colour('line'), linecolor: colour('line'), zerolinecolor: colour('line'), automargin: true};
  return {
    font: {family: 'system-ui, sans-serif', size: 12, color: colour('ink')}, paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)',
    margin: {l: 56, r: 12, t: 8, b: 44}, height: 300, legend: {orientation: 'h', y: 1.02, yanchor: 'bottom', x: 0}, showlegend: true,
    hoverlabel: {font: {family: 'system-ui, sans-serif'}}, modebar: {bgcolor: 'rgba(0,0,0,0)', color: colour('muted'), activecolor: colour('ink')}, dragmode: matchMedia('(pointer: fine)').matches ? 'zoom' : false,
    ...changes, xaxis: {...axis, ...changes.xaxis}, yaxis: {...axis, ...changes.yaxis},
  };
}

/// Draws now, and again when colours change. make() gives {data, layout}, or a sentence where there is nothing to draw.
function draw(node, make) {
  const again = () => {
    const made = make();
    if (typeof made === 'string') {
      release(node);
      node.replaceChildren(h('p', {class: 'nothing'}, made));
      return;
    }
    let plot = node.querySelector('.js-plotly-plot');
    if (!plot) node.replaceChildren(plot = h('div'));
    plot.drawn = Promise.all([plot.drawn, Plotly.react(plot, made.data, layout(made.layout), {responsive: true, displaylogo: false, displayModeBar: matchMedia('(hover: hover)').matches ? 'hover' : false, modeBarButtonsToRemove: ['select2d', 'lasso2d', 'autoScale2d', 'zoomIn2d', 'zoomOut2d']})]);
    plot.removeAllListeners('plotly_click');
    plot.on('plotly_click', event => {
      const index = event.points[0]?.customdata;
      if (cellByIndex.has(index)) location.hash = `cell-${index}`;
    });
  };
  plots.set(node, again);
  again();
}
/// Frees the plots within a node, each after every drawing under way has finished.
function release(within) {
  for (const plot of within.querySelectorAll('.js-plotly-plot')) plot.drawn.then(() => Plotly.purge(plot));
}
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { for (const again of plots.values()) again(); });

const geometricMean = values => Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
// plotly reads a few tags in its texts.
const plain = text => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
const short = text => plain(text.length > 22 ? `${text.slice(0, 21)}…` : text);
const numeric = values => values.every(value => value.trim() !== '' && Number.isFinite(Number(value)));
function axisScale(axis) {
  const title = {text: plain(axisLabel(axis.name))};
  if (!numeric(axis.values)) {
    return {at: value => value, layout: {type: 'category', categoryorder: 'array', categoryarray: axis.values, tickvals: axis.values, ticktext: axis.values.map(short), title}};
  }
  const positions = axis.values.map(Number);
  const span = Math.max(...positions) - Math.min(...positions);
  const margin = span * 0.06;
  // Dots of the two sides stand a little apart, so that neither hides the other.
  return {at: (value, shift = 0) => Number(value) + shift * span * 0.01, layout: {tickvals: positions, ticktext: axis.values, range: [Math.min(...positions) - margin, Math.max(...positions) + margin], title}};
}

/// One quantity over one axis: a dot with its interval for every cell, and a line through the (geometric) means where several share a value.
/// quantity(cell) gives {median, low, high} or null.
function series(cells, axis, name, tint, quantity, options = {}) {
  const scale = axisScale(axis);
  const points = cells.map(cell => ({cell, value: quantity(cell)})).filter(point => point.value && Number.isFinite(point.value.median));
  if (!points.length) return [];
  const groups = axis.values.map(value => ({value, points: points.filter(point => point.cell.axes[axis.name] === value)})).filter(group => group.points.length);
  const single = groups.every(group => group.points.length === 1);
  const bars = list => ({type: 'data', symmetric: false, array: list.map(({value}) => (value.high ?? value.median) - value.median),
    arrayminus: list.map(({value}) => value.median - (value.low ?? value.median)), thickness: 1.2, width: single ? 5 : 2, color: single ? tint : fade(tint, 0.45)});
  const mean = options.largest ? values => Math.max(...values) : values => values.every(value => value > 0) ? geometricMean(values) : values.reduce((a, b) => a + b) / values.length;
  const list = groups.flatMap(group => group.points);
  const shared = {name, legendgroup: name, type: 'scatter'};
  const dots = {...shared, mode: single ? 'lines+markers' : 'markers', x: list.map(({cell}) => scale.at(cell.axes[axis.name], single ? 0 : {reference: -1, optimized: 1}[name])), y: list.map(({value}) => value.median),
    customdata: list.map(({cell}) => cell.index), text: list.map(({cell, value}) => `${plain(cellName(cell))}<br>${options.text ? options.text(value) : small(value.median)}`),
    hovertemplate: `%{text}<extra>${name}</extra>`, error_y: bars(list), line: {color: tint, width: 2, dash: options.dash},
    marker: {color: single ? tint : fade(tint, 0.5), size: single ? 8 : 5, symbol: options.symbol ?? 'circle'}, showlegend: single};
  if (single) return [dots];
  const means = groups.map(group => mean(group.points.map(point => point.value.median)));
  return [dots, {...shared, mode: 'lines+markers', x: groups.map(group => scale.at(group.value)), y: means, hovertemplate: `${options.largest ? 'largest' : 'mean'} %{y:.4~g}<extra>${name}</extra>`,
    line: {color: tint, width: 2.5, dash: options.dash}, marker: {color: tint, size: 8, symbol: options.symbol ?? 'circle'}}];
}

/// A dashed line with words. On logarithmic axes plotly takes shapes in values and annotations in logarithms.
const level = (y, text, tint, logarithmic = false) => ({
  shapes: [{type: 'line', xref: 'paper', x0: 0, x1: 1, y0: y, y1: y, line: {color: tint, width: 1.5, dash: 'dash'}}],
  annotations: [{xref: 'paper', x: 1, xanchor: 'right', y: logarithmic ? Math.log10(y) : y, yanchor: 'bottom', text, showarrow: false, font: {size: 11, color: tint}}],
});

// A logarithmic scale has no zero: exact equality is drawn at a floor below everything else, and the axis says so.
function logSeries(cells, axis, makers) {
  const positive = makers.flatMap(({quantity}) => cells.map(cell => quantity(cell)?.median)).filter(value => value > 0 && Number.isFinite(value));
  if (!positive.length) return null;
  const floor = 10 ** (Math.floor(Math.log10(Math.min(...positive))) - 1);
  const hasZero = makers.some(({quantity}) => cells.some(cell => quantity(cell)?.median <= 0));
  const lifted = quantity => cell => { const value = quantity(cell); return value && {...value, median: Math.max(value.median, floor), exact: value.median}; };
  return {data: makers.flatMap(({name, tint, quantity, options}) => series(cells, axis, name, tint, lifted(quantity), {...options, text: value => small(value.exact)})),
    floor: hasZero ? floor : null};
}

const stageNames = ['preprocess', 'encode_prompt', 'vae_encode', 'unet', 'scheduler_step', 'vae_decode', 'postprocess'];
function stageMs(row, stage) {
  const rows = row.stages.filter(entry => entry.name === stage);
  if (rows.length === 1) return rows[0].ms;
  return rows.length ? {median: rows.reduce((sum, entry) => sum + entry.ms.median, 0)} : null;
}
function latency(cell, name, stage) {
  const row = side(cell, name);
  return !row?.total_ms ? null : stage === 'total' ? row.total_ms : stageMs(row, stage);
}

const presentStages = () => [...new Set(report.cells.flatMap(cell => cell.implementations.flatMap(row => row.stages.map(stage => stage.name))))]
  .sort((a, b) => (stageNames.indexOf(a) + 100) % 100 - (stageNames.indexOf(b) + 100) % 100);

const axisPlots = {
  latency: (cells, axis, state) => {
    const data = sides.flatMap(name => series(cells, axis, name, colour(name), cell => latency(cell, name, state.stage), {symbol: symbols[name], dash: name === 'reference' ? 'dot' : 'solid', text: value => value.low === undefined ? ms(value.median) : `${ms(value.median)} (${range(value, ms)})`}));
    return data.length ? {data, layout: {xaxis: axisScale(axis).layout, yaxis: {title: {text: 'ms'}, rangemode: 'tozero'}}} : 'No cell here was timed.';
  },
  speedup: (cells, axis) => {
    const data = series(cells, axis, 'speedup', colour('optimized'), cell => cell.speedup, {text: value => `${ratio(value.median)} (${range(value, ratio)})`});
    return data.length ? {data, layout: {xaxis: axisScale(axis).layout, yaxis: {title: {text: 'reference / optimized'}, ticksuffix: '×', rangemode: 'tozero'}, showlegend: false, ...level(1, 'as fast as the reference', colour('muted'))}} : 'No cell here was timed.';
  },
  metric: (cells, axis, state) => {
    const name = state.metric;
    const distance = name === 'ssim' ? value => Math.max(0, 1 - value) : value => value;
    const quantity = cell => { const row = metricOf(cell, name); return row ? {median: distance(row.value)} : null; };
    const bound = cells.map(cell => metricOf(cell, name)?.bound).find(value => value !== null && value !== undefined);
    const line = bound === undefined ? {} : null;
    const title = {text: name === 'ssim' ? '1 − SSIM' : metricLabel(name)};
    if (name === 'psnr') {
      const data = series(cells, axis, 'PSNR', colour('optimized'), quantity, {text: value => metricText('psnr', value.median)});
      return data.length ? {data, layout: {xaxis: axisScale(axis).layout, yaxis: {title: {text: 'PSNR, dB'}}, showlegend: false, ...(line ?? level(bound, 'bound', colour('failed')))}} : 'The pictures are identical wherever they were compared.';
    }
    const made = logSeries(cells, axis, [{name: title.text, tint: colour('optimized'), quantity, options: {largest: true}}]);
    if (!made) return cells.some(quantity) ? `${title.text} is exactly 0 in every cell here.` : 'Not compared.';
    const limit = bound > 0 || name === 'ssim' ? distance(bound) : null;
    return {data: made.data, layout: {xaxis: axisScale(axis).layout, yaxis: logAxis(title.text, made, limit), showlegend: false, ...(line ?? (limit > 0 ? level(limit, 'bound', colour('failed'), true) : {}))}};
  },
  budget: (cells, axis) => {
    const tints = ['optimized', 'reference', 'passed', 'mistrusted'];
    const judged = metricNames.filter(name => cells.some(cell => (metricOf(cell, name)?.bound ?? null) !== null));
    const made = logSeries(cells, axis, judged.map((name, i) => ({name: metricLabel(name), tint: colour(tints[i % tints.length]),
      quantity: cell => { const row = metricOf(cell, name); return row && row.bound !== null ? {median: row.budget_used * 100} : null; },
      options: {largest: true, symbol: ['circle', 'square', 'diamond', 'cross'][i % 4], dash: ['solid', 'dot', 'dash', 'longdash'][i % 4]}})));
    if (!made) return judged.length ? 'Nothing of any tolerance was used: the pictures are identical.' : 'No metric was judged.';
    return {data: made.data, layout: {xaxis: axisScale(axis).layout, yaxis: logAxis('% of the tolerance', made, 100), ...level(100, 'the bound', colour('failed'), true)}};
  },
  drift: (cells, axis) => {
    const groups = axis.values.map(value => ({value, cells: cells.filter(cell => cell.axes[axis.name] === value && cell.latents_drift.length)})).filter(group => group.cells.length);
    const data = groups.map((group, i) => {
      const steps = Math.max(...group.cells.map(cell => cell.latents_drift.length));
      const y = Array.from({length: steps}, (_, step) => Math.max(...group.cells.map(cell => cell.latents_drift[step] ?? 0)));
      const tint = mix(groups.length === 1 ? 1 : i / (groups.length - 1));
      return {type: 'scatter', mode: 'lines+markers', name: short(group.value), x: y.map((_, step) => step + 1), y: y.map(value => value > 0 ? value : null), connectgaps: false,
        line: {color: tint, width: 2}, marker: {color: tint, size: 5, symbol: i}, hovertemplate: 'step %{x}: %{y:.3~g}<extra>%{fullData.name}</extra>'};
    });
    if (!data.length) return 'No drift was recorded.';
    if (data.every(trace => trace.y.every(value => value === null))) return 'The latents are equal after every step.';
    return {data, layout: {xaxis: {title: {text: 'executed step'}}, yaxis: logAxis('largest latent difference', {data}, 0), legend: {orientation: 'h', y: 1.02, yanchor: 'bottom', x: 0, title: {text: `${plain(axisLabel(axis.name))} `}}, showlegend: true}};
  },
  memory: (cells, axis) => {
    const key = report.cells.some(cell => cell.implementations.some(row => row.peak_device_bytes)) ? 'peak_device_bytes' : 'peak_host_bytes';
    const data = sides.flatMap(name => series(cells, axis, name, colour(name), cell => side(cell, name)?.[key] ? {median: side(cell, name)[key] / 1e6} : null,
      {symbol: symbols[name], dash: name === 'reference' ? 'dot' : 'solid', largest: true, text: value => bytes(value.median * 1e6)}));
    return data.length ? {data, layout: {xaxis: axisScale(axis).layout, yaxis: {title: {text: key === 'peak_device_bytes' ? 'device MB' : 'host MB'}, rangemode: 'tozero'}}} : 'Not measured.';
  },
};
/// Whole decades as ticks where there are any, and room for the bound.
function logAxis(words, made, bound) {
  const values = made.data.flatMap(trace => trace.y).concat(bound > 0 ? [bound] : []).filter(value => value > 0).map(Math.log10);
  const [low, high] = [Math.min(...values) - 0.3, Math.max(...values) + 0.3];
  const decades = Math.floor(high) - Math.ceil(low);
  return {type: 'log', exponentformat: 'power', range: [low, high], title: {text: made.floor ? `${words} (0 drawn at ${small(made.floor)})` : words}, ...(decades >= 1 ? {dtick: Math.ceil((decades + 1) / 7)} : {})};
}
/// Between the two sides' colours, for ordered values.
function mix(share) {
  const [from, to] = ['reference', 'optimized'].map(name => colour(name).match(/[0-9a-f]{2}/gi).map(part => parseInt(part, 16)));
  return `#${from.map((value, i) => Math.round(value + (to[i] - value) * share).toString(16).padStart(2, '0')).join('')}`;
}

function renderAxisPlots() {
  if (!variedAxes.length) return;
  byId('axes').hidden = false;
  const state = {axis: variedAxes[0], fixed: {}, stage: 'total', metric: metricNames.includes('lpips') ? 'lpips' : metricNames[0]};
  const chips = h('div', {class: 'chips', role: 'group', 'aria-label': 'axis'});
  const others = h('div', {class: 'controls'});
  const nodes = {};
  const chosen = () => report.cells.filter(cell => Object.entries(state.fixed).every(([name, value]) => name === state.axis.name || value === 'all' || cell.axes[name] === value));
  const redraw = name => draw(nodes[name], () => axisPlots[name](chosen(), state.axis, state));
  const redrawSeen = () => { for (const name of Object.keys(nodes)) if (!waiting.has(nodes[name])) redraw(name); };
  const renderControls = () => {
    chips.replaceChildren(...variedAxes.map(axis => h('button', {type: 'button', 'aria-pressed': String(axis === state.axis), onclick: () => { state.axis = axis; renderControls(); redrawSeen(); }}, axisLabel(axis.name))));
    others.replaceChildren(...variedAxes.filter(axis => axis !== state.axis).map(axis => select(axisLabel(axis.name), [['all', 'all'], ...axis.values.map(value => [value, value])], state.fixed[axis.name] ?? 'all',
      value => { state.fixed[axis.name] = value; redrawSeen(); })));
  };
  renderControls();
  const panel = (name, title, control) => {
    nodes[name] = h('div', {class: 'plot', role: 'img', 'aria-label': `${title}; the numbers stand in the table of all cells`});
    whenSeen(nodes[name], () => redraw(name));
    return h('article', {class: 'panel'}, h('h3', {}, title, control ?? null), nodes[name]);
  };
  byId('axes').append(h('div', {class: 'toolbar'}, chips, others), h('div', {class: 'panels'},
    panel('latency', 'Latency', select('stage', [['total', 'end to end'], ...presentStages().map(name => [name, name])], 'total', value => { state.stage = value; redraw('latency'); })),
    panel('speedup', 'Speedup'),
    metricNames.length ? panel('metric', 'Distance', select('metric', metricNames.map(name => [name, metricLabel(name)]), state.metric, value => { state.metric = value; redraw('metric'); })) : '',
    metricNames.length ? panel('budget', 'Tolerance used') : '', panel('drift', 'Drift of latents over steps'), panel('memory', 'Peak memory')));
}

/// Mean over the timed cells of each stage, both sides: the place to look for the next millisecond.
function stageSection() {
  const timed = report.cells.filter(cell => sides.every(name => side(cell, name)?.total_ms));
  const stages = presentStages();
  if (!timed.length || !stages.length) return null;
  const mean = (name, stage) => timed.reduce((sum, cell) => sum + (stageMs(side(cell, name), stage)?.median ?? 0), 0) / timed.length;
  const rows = stages.map(stage => ({stage, reference: mean('reference', stage), optimized: mean('optimized', stage)}));
  const plot = h('div', {class: 'plot short', role: 'img', 'aria-label': 'mean time of each stage; the table beside it has the numbers'});
  const tint = stage => ['#8b9199', '#a986d6', '#2f9587', '#6a55b3', '#c99a1e', '#7cc4b6', '#b9bec5'][stageNames.indexOf(stage)] ?? '#777777';
  whenSeen(plot, () => draw(plot, () => ({
    data: rows.map(({stage, reference, optimized}) => ({type: 'bar', orientation: 'h', name: stage, y: ['optimized', 'reference'], x: [optimized, reference], marker: {color: tint(stage), line: {width: 1, color: colour('card')}}, hovertemplate: '%{x:.4~g} ms<extra>%{fullData.name}</extra>'})),
    layout: {barmode: 'stack', height: 170, showlegend: false, margin: {l: 70, r: 12, t: 4, b: 36}, xaxis: {title: {text: 'ms, mean over timed cells'}}, bargap: 0.35},
  })));
  const swatch = stage => h('i', {class: 'swatch', style: `background:${tint(stage)}`});
  return h('section', {class: 'stages'}, h('h2', {}, 'Where the time goes'), plot,
    h('table', {class: 'compact'}, h('thead', {}, h('tr', {}, ['stage', 'reference', 'optimized', 'ratio'].map(text => h('th', {scope: 'col'}, text)))),
      h('tbody', {}, rows.map(({stage, reference, optimized}) => h('tr', {}, h('th', {scope: 'row'}, swatch(stage), stage), h('td', {}, ms(reference)), h('td', {}, ms(optimized)), h('td', {}, optimized > 0 ? ratio(reference / optimized) : '—'))))));
}

function renderPromises() {
  if (!report.promises.length) return;
  const section = byId('promises');
  section.hidden = false;
  section.append(h('p', {class: 'muted'}, `Measured on the reference, over seeds. ${report.summary.promises_held} of ${report.summary.promises} hold.`),
    h('div', {class: 'panels thirds'}, [...report.promises].sort((a, b) => a.holds - b.holds).map(row => {
      const plot = h('div', {class: 'plot short', role: 'img', 'aria-label': row.values.map((value, i) => `${value}: ${row.measured[i] ? small(row.measured[i].median) : 'none'}`).join(', ')});
      const axis = {name: row.parameter, values: row.values};
      whenSeen(plot, () => draw(plot, () => {
        const points = row.measured.map((value, i) => ({index: -1 - i, axes: {[axis.name]: row.values[i]}, value}));
        const data = series(points, axis, short(row.quantity), colour(row.holds ? 'optimized' : 'failed'), point => point.value, {});
        for (const trace of data) trace.text = points.map(point => `${plain(point.axes[axis.name])}: ${small(point.value.median)} (${range(point.value, small)})`);
        return data.length ? {data, layout: {height: 210, xaxis: axisScale(axis).layout, yaxis: {title: {text: short(row.quantity), font: {size: 11}}}, showlegend: false}} : 'Not measured.';
      }));
      return h('article', {class: row.holds ? 'panel' : 'panel broken'}, h('h3', {}, row.promise),
        h('p', {}, h('span', {class: `badge ${row.holds ? 'passed' : 'failed'}`}, row.holds ? '✓ holds' : '✕ does not hold'), h('span', {class: 'muted'}, ` expected: ${row.expectation}`)), plot);
    })));
}
