// One cell in full: pictures with slider and flicker, metrics, stages, steps, memory, and the command that repeats it.
// The address ends in #cell-N while it is open, so that a finding can be sent to somebody.
let flickerTimer = null;

function comparison(cell) {
  const kinds = pictureKinds.filter(kind => kind === 'difference' ? cell.pictures.reference !== null && cell.pictures.optimized !== null : cell.pictures[kind] !== null);
  if (!kinds.length) return h('p', {class: 'no-picture'}, 'This cell has no pictures.');
  const state = {left: kinds.includes('reference') ? 'reference' : kinds[0], right: kinds.includes('optimized') ? 'optimized' : kinds.at(-1), at: 50};
  const view = h('div', {class: 'view'});
  const handle = h('i', {class: 'handle', 'aria-hidden': 'true'});
  const status = h('p', {class: 'muted', 'aria-live': 'off'});
  const layer = kind => {
    const node = tile(cell, kind);
    node.className = 'layer';
    return node;
  };
  let right = null;
  const words = () => { status.textContent = `left of the line: ${state.left}; right of it: ${state.right}`; };
  const place = () => { right.style.clipPath = `inset(0 0 0 ${state.at}%)`; handle.style.left = `${state.at}%`; };
  const slider = h('input', {type: 'range', min: 0, max: 100, value: 50, 'aria-label': 'position of the dividing line', oninput: () => { stop(); state.at = Number(slider.value); place(); }});
  const flicker = h('button', {type: 'button', 'aria-pressed': 'false', onclick: () => flickerTimer ? stop() : start()}, 'Flicker');
  function start() {
    let shown = true;
    handle.hidden = true;
    flicker.setAttribute('aria-pressed', 'true');
    flickerTimer = setInterval(() => {  // below three flashes a second
      shown = !shown;
      right.style.clipPath = shown ? 'none' : 'inset(0 0 0 100%)';
      status.textContent = `showing ${shown ? state.right : state.left}`;
    }, 450);
  }
  function stop() {
    clearInterval(flickerTimer);
    flickerTimer = null;
    handle.hidden = false;
    flicker.setAttribute('aria-pressed', 'false');
    place();
    words();
  }
  const refresh = () => {
    right = layer(state.right);
    view.replaceChildren(layer(state.left), right, handle);
    stop();
  };
  const drag = event => {
    if (event.buttons !== 1) return;
    const box = view.getBoundingClientRect();
    slider.value = 100 * (event.clientX - box.left) / box.width;
    slider.dispatchEvent(new Event('input'));
    event.preventDefault();
  };
  view.addEventListener('pointerdown', drag);
  view.addEventListener('pointermove', drag);
  const pick = key => select(key, kinds.map(kind => [kind, kind]), state[key], value => { state[key] = value; refresh(); });
  refresh();
  return h('div', {class: 'comparison'}, view, slider, h('div', {class: 'controls'}, pick('left'), pick('right'), flicker), status,
    h('div', {class: 'tiles'}, pictureKinds.map(kind => tile(cell, kind))));
}

function copyBox(text) {
  const code = h('code', {}, text);
  const button = h('button', {type: 'button', onclick: async () => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {  // not offered to every page opened from disk
      getSelection().selectAllChildren(code);
      document.execCommand('copy');
    }
    button.textContent = 'Copied';
    setTimeout(() => { button.textContent = 'Copy'; }, 1500);
  }}, 'Copy');
  return h('div', {class: 'copy'}, h('pre', {}, code), button);
}

function speedTable(cell) {
  const rows = sides.map(name => side(cell, name)).filter(Boolean);
  if (!rows.length) return null;
  const timed = rows.some(row => row.total_ms);
  return [h('h3', {}, 'Cost'), h('table', {class: 'compact'},
    h('thead', {}, h('tr', {}, ['', ...rows.map(row => row.implementation)].map(text => h('th', {scope: 'col'}, text)))),
    h('tbody', {},
      !timed ? '' : [['warm median', row => row.total_ms ? ms(row.total_ms.median) : '—'], ['interval', row => row.total_ms ? range(row.total_ms, ms) : '—'],
        ['warm runs', row => row.total_ms ? String(row.total_ms.samples.length) : '—'], ['cold, first run', row => row.cold_ms === null ? '—' : ms(row.cold_ms)]]
        .map(([label, value]) => h('tr', {}, h('th', {scope: 'row'}, label), rows.map(row => h('td', {}, value(row))))),
      [['peak host memory', 'peak_host_bytes'], ['peak device memory', 'peak_device_bytes']].filter(([, key]) => rows.some(row => row[key]))
        .map(([label, key]) => h('tr', {}, h('th', {scope: 'row'}, label), rows.map(row => h('td', {}, row[key] ? bytes(row[key]) : '—')))))),
    timed ? null : h('p', {class: 'muted'}, `Not timed: the cell is ${cell.verdict}.`)];
}

function stagePlots(cell) {
  const rows = sides.map(name => side(cell, name)).filter(row => row?.stages.length);
  if (!rows.length) return null;
  const names = presentStages().filter(stage => rows.some(row => stageMs(row, stage)));
  const bars = h('div', {class: 'plot', role: 'img', 'aria-label': 'time of each stage, both sides'});
  const steps = h('div', {class: 'plot', role: 'img', 'aria-label': 'time of each UNet step, both sides'});
  const spread = values => ({type: 'data', symmetric: false, array: values.map(value => value?.high === undefined ? 0 : value.high - value.median), arrayminus: values.map(value => value?.low === undefined ? 0 : value.median - value.low), thickness: 1.3, width: 4});
  const drawBars = () => draw(bars, () => ({
    data: rows.map(row => {
      const values = names.map(stage => stageMs(row, stage));
      return {type: 'bar', orientation: 'h', name: row.implementation, y: names, x: values.map(value => value?.median ?? null), error_x: {...spread(values), color: colour('ink')}, marker: {color: colour(row.implementation)},
        text: values.map(value => !value ? '' : value.low === undefined ? ms(value.median) : `${ms(value.median)} (${range(value, ms)})`), textposition: 'outside', cliponaxis: false, hovertemplate: '%{y}: %{text}<extra>%{fullData.name}</extra>'};
    }),
    layout: {barmode: 'group', bargap: 0.25, height: 80 + 46 * names.length, xaxis: {title: {text: 'ms'}, range: [0, 1.4 * Math.max(...rows.flatMap(row => names.map(stage => stageMs(row, stage)?.median ?? 0)))]}, yaxis: {autorange: 'reversed'}, margin: {l: 110, r: 30, t: 8, b: 40}},
  }));
  const drawSteps = () => draw(steps, () => {
    const data = rows.map(row => {
      const unet = row.stages.filter(stage => stage.name === 'unet' && stage.step >= 0);
      return {type: 'scatter', mode: 'lines+markers', name: row.implementation, x: unet.map(stage => stage.step + 1), y: unet.map(stage => stage.ms.median), error_y: {...spread(unet.map(stage => stage.ms)), color: colour(row.implementation)},
        line: {color: colour(row.implementation), dash: row.implementation === 'reference' ? 'dot' : 'solid'}, marker: {symbol: symbols[row.implementation], size: 7}, hovertemplate: 'step %{x}: %{y:.4~g} ms<extra>%{fullData.name}</extra>'};
    });
    return data.some(trace => trace.x.length) ? {data, layout: {height: 260, xaxis: {title: {text: 'executed step'}}, yaxis: {title: {text: 'ms'}, rangemode: 'tozero'}}} : 'No step was timed.';
  });
  requestAnimationFrame(() => { drawBars(); drawSteps(); });  // the dialog has its width by then
  return [h('h3', {}, 'Stages'), h('p', {class: 'muted'}, 'Stages that run once a step are summed; a sum has no interval.'), bars, h('h3', {}, 'UNet, step by step'), steps];
}

function openCell(index) {
  const cell = cellByIndex.get(index);
  const dialog = byId('detail');
  if (!cell) return;
  forgetPlots(dialog);
  clearInterval(flickerTimer);
  flickerTimer = null;
  const position = report.cells.indexOf(cell);
  const go = step => { const next = report.cells[position + step]; if (next) location.replace(`#cell-${next.index}`); };
  dialog.onkeydown = event => {
    if (event.target.matches('input, select')) return;
    if (event.key === 'ArrowLeft') go(-1);
    if (event.key === 'ArrowRight') go(1);
  };
  dialog.replaceChildren(
    h('header', {}, h('div', {}, h('h2', {id: 'detail-title'}, cellName(cell)), h('p', {}, badge(cell.verdict), cell.reason ? ` ${cell.reason}` : '', cell.speedup ? h('span', {}, ` · ${ratio(cell.speedup.median)} (${range(cell.speedup, ratio)}) ${cell.speedup_verdict}`) : '')),
      h('div', {class: 'controls'}, h('button', {type: 'button', disabled: position === 0, onclick: () => go(-1), 'aria-label': 'previous cell'}, '←'), h('button', {type: 'button', disabled: position === report.cells.length - 1, onclick: () => go(1), 'aria-label': 'next cell'}, '→'),
        h('button', {type: 'button', onclick: () => dialog.close()}, 'Close'))),
    h('div', {class: 'detail'},
      comparison(cell),
      h('div', {},
        cell.warnings.length ? h('ul', {class: 'warnings'}, cell.warnings.map(text => h('li', {}, text))) : '',
        h('h3', {}, 'Difference'),
        cell.metrics.length ? cell.metrics.map(metric => h('div', {class: 'metric'}, h('p', {}, h('span', {}, metricLabel(metric.name)), h('strong', {}, metricText(metric.name, metric.value)), metric.bound === null ? '' : h('span', {class: `badge ${metric.passed ? 'passed' : 'failed'}`}, metric.passed ? '✓ within' : '✕ missed')), budgetBar(metric))) : h('p', {class: 'muted'}, 'Nothing was compared.'),
        speedTable(cell) ?? '',
        h('h3', {}, 'Repeat this cell'), copyBox(cell.command),
        h('details', {}, h('summary', {}, 'All its axes'), h('dl', {class: 'environment'}, Object.entries(cell.axes).map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))))))),
    h('div', {}, stagePlots(cell) ?? ''),
    h('div', {}, profiled([cell]).length ? [h('h3', {}, 'Operators'), operatorTable([cell])].flat() : ''));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

function forgetPlots(within) {
  release(within);
  for (const node of plots.keys()) if (within.contains(node)) plots.delete(node);
}

function followAddress() {
  const match = /^#cell-(\d+)$/.exec(location.hash);
  if (match) openCell(Number(match[1]));
  else if (byId('detail').open) byId('detail').close();
}
