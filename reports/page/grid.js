// The picture grid: any two axes as rows and columns, the others fixed by selectors. A cell's pictures load when it comes into view.
function renderGrid() {
  if (!report.cells.some(cell => Object.values(cell.pictures).some(number => number !== null))) return;
  const section = byId('pictures');
  section.hidden = false;
  const none = {name: '', values: ['']};
  const state = {rows: variedAxes[0] ?? none, columns: variedAxes[1] ?? none, fixed: {}, show: 'all', gain: 0};
  const controls = h('div', {class: 'controls'});
  const grid = h('div', {class: 'scroll', tabindex: '0', role: 'group', 'aria-label': 'picture grid'});
  const legend = h('p', {class: 'muted'});

  const pickAxis = (label, key, other) => select(label, [['', 'none'], ...variedAxes.map(axis => [axis.name, axisLabel(axis.name)])], state[key].name, name => {
    const axis = variedAxes.find(candidate => candidate.name === name) ?? none;
    if (axis !== none && axis === state[other]) state[other] = state[key];
    state[key] = axis;
    update();
  });
  const fixedAxes = () => variedAxes.filter(axis => axis !== state.rows && axis !== state.columns);
  const at = (row, column) => report.cells.find(cell => (state.rows === none || cell.axes[state.rows.name] === row) && (state.columns === none || cell.axes[state.columns.name] === column)
    && fixedAxes().every(axis => cell.axes[axis.name] === (state.fixed[axis.name] ?? axis.values[0])));

  function cellButton(cell) {
    if (!cell) return h('div', {class: 'cell empty'}, 'not in this sweep');
    const content = h('div', {class: state.show === 'all' ? 'quad' : 'single'});
    const lpips = metricOf(cell, 'lpips') ?? cell.metrics[0];
    const caption = h('span', {class: 'caption'}, cell.verdict === 'passed' ? '' : badge(cell.verdict),
      cell.verdict === 'failed' || cell.verdict === 'skipped' || cell.verdict === 'unsupported' ? h('span', {class: 'reason'}, cell.reason) : null,
      lpips ? h('span', {}, `${metricLabel(lpips.name)} ${metricText(lpips.name, lpips.value)}`) : null,
      cell.speedup ? h('span', {}, ratio(cell.speedup.median)) : null);
    const button = h('button', {type: 'button', class: `cell ${cell.verdict}`, 'aria-label': `${cellName(cell)}, ${cell.verdict}: details`, onclick: () => { location.hash = `cell-${cell.index}`; }}, content, caption);
    if (Object.values(cell.pictures).every(number => number === null)) content.append(h('span', {class: 'no-picture'}, 'no pictures'));
    else whenSeen(button, () => content.append(...(state.show === 'all' ? pictureKinds : [state.show]).map(kind => tile(cell, kind, state.gain))));
    return button;
  }

  function update() {
    controls.replaceChildren(pickAxis('rows', 'rows', 'columns'), pickAxis('columns', 'columns', 'rows'),
      ...fixedAxes().map(axis => select(axisLabel(axis.name), axis.values.map(value => [value, value]), state.fixed[axis.name] ?? axis.values[0], value => { state.fixed[axis.name] = value; update(); })),
      select('show', [['all', 'all four'], ...pictureKinds.map(kind => [kind, kind])], state.show, value => { state.show = value; update(); }),
      select('difference × ', [['0', 'auto'], ...[1, 4, 16, 64, 255].map(gain => [String(gain), String(gain)])], String(state.gain), value => { state.gain = Number(value); update(); }));
    const columns = state.columns.values;
    grid.replaceChildren(h('table', {class: 'grid', style: `max-width:${6 + 21 * columns.length}rem`},
      state.columns === none ? '' : h('thead', {}, h('tr', {}, h('td', {}), columns.map(value => h('th', {scope: 'col'}, `${axisLabel(state.columns.name)} ${value}`)))),
      h('tbody', {}, state.rows.values.map(row => h('tr', {}, h('th', {scope: 'row'}, state.rows === none ? '' : [h('small', {}, axisLabel(state.rows.name)), row]), columns.map(column => h('td', {style: `width:${100 / columns.length}%`}, cellButton(at(row, column)))))))));
    legend.textContent = `${state.show === 'all' ? 'Source, reference; optimized, difference. ' : ''}${state.gain ? `Differences are amplified ${state.gain} times.` : 'Each difference is amplified by the power of two written on it.'} Choose a cell for its details.`;
  }
  update();
  section.append(controls, legend, grid);
}
