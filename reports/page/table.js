// Every cell in one table: sorted by any column, filtered by words and verdicts; rows are made a hundred at a time.
function renderTable() {
  const milliseconds = (cell, name) => side(cell, name)?.total_ms ?? null;
  const memory = (cell, name) => { const row = side(cell, name); return row ? row.peak_device_bytes || row.peak_host_bytes : 0; };
  const memoryKind = report.cells.some(cell => cell.implementations.some(row => row.peak_device_bytes)) ? 'device' : 'host';
  // key: what is sorted by; show: what is read.
  const columns = [
    {title: '#', key: cell => cell.index, show: cell => cellLink(cell.index, String(cell.index))},
    {title: 'verdict', key: cell => loudness(cell.verdict), show: cell => [badge(cell.verdict), cell.reason ? h('span', {class: 'reason'}, cell.reason) : '']},
    ...(variedAxes.length ? variedAxes : axes).map(axis => ({title: axisLabel(axis.name), key: cell => { const value = cell.axes[axis.name] ?? ''; return value.trim() !== '' && Number.isFinite(Number(value)) ? Number(value) : value; }, show: cell => cell.axes[axis.name] ?? ''})),
    {title: 'speedup', number: true, key: cell => cell.speedup?.median ?? null, show: cell => cell.speedup ? [h('strong', {}, ratio(cell.speedup.median)), h('small', {}, `${range(cell.speedup, ratio)} ${cell.speedup_verdict}`)] : '—'},
    ...sides.map(name => ({title: `${name} ms`, number: true, key: cell => milliseconds(cell, name)?.median ?? null, show: cell => { const value = milliseconds(cell, name); return value ? [trim(value.median, 4), h('small', {}, range(value, number => trim(number, 4)))] : '—'; }})),
    ...metricNames.map(name => ({title: metricLabel(name), number: true, key: cell => metricOf(cell, name)?.value ?? null, show: cell => { const metric = metricOf(cell, name); return metric ? [metricText(name, metric.value), metric.passed ? '' : h('small', {class: 'missed'}, '✕ missed')] : '—'; }})),
    {title: 'tolerance used', number: true, key: cell => budgetOf(cell) < 0 ? null : budgetOf(cell), show: cell => budgetOf(cell) < 0 ? '—' : percent(budgetOf(cell))},
    ...sides.map(name => ({title: `${name} ${memoryKind} peak`, number: true, key: cell => memory(cell, name) || null, show: cell => memory(cell, name) ? bytes(memory(cell, name)) : '—'})),
  ];
  const state = {column: columns[1], descending: false, words: '', verdicts: new Set()};
  const search = new Map(report.cells.map(cell => [cell, [cellName(cell), ...Object.values(cell.axes), cell.verdict, cell.reason, cell.speedup_verdict, ...cell.warnings].join(' ').toLowerCase()]));
  const headings = h('tr', {});
  const body = h('tbody', {});
  const count = h('p', {class: 'muted', 'aria-live': 'polite'});

  const compare = (a, b) => {
    const [left, right] = [state.column.key(a), state.column.key(b)];
    if (left === null || right === null) return (left === null) - (right === null);  // empty fields last, either way
    const order = typeof left === 'number' && typeof right === 'number' ? left - right : String(left).localeCompare(String(right), 'en', {numeric: true});
    return (state.descending ? -order : order) || a.index - b.index;
  };
  function fill(cells, from) {
    const rows = cells.slice(from, from + 100).map(cell => h('tr', {class: cell.verdict, onclick: event => { if (!event.target.closest('a')) location.hash = `cell-${cell.index}`; }},
      columns.map(column => h('td', {class: column.number ? 'number' : null}, column.show(cell)))));
    body.append(...rows);
    if (from + 100 < cells.length) whenSeen(rows.at(-1), () => fill(cells, from + 100));
  }
  function update() {
    const cells = report.cells.filter(cell => (!state.verdicts.size || state.verdicts.has(cell.verdict)) && state.words.split(/\s+/).every(word => search.get(cell).includes(word))).sort(compare);
    headings.replaceChildren(...columns.map(column => h('th', {scope: 'col', class: column.number ? 'number' : null, 'aria-sort': column === state.column ? state.descending ? 'descending' : 'ascending' : null},
      h('button', {type: 'button', onclick: () => { state.descending = column === state.column && !state.descending; state.column = column; update(); }}, column.title, column === state.column ? state.descending ? ' ↓' : ' ↑' : ''))));
    body.replaceChildren();
    fill(cells, 0);
    count.textContent = cells.length === report.cells.length ? plural(cells.length, 'cell') : `${cells.length} of ${plural(report.cells.length, 'cell')}`;
  }
  const chips = Object.entries(report.summary.verdicts).filter(([, number]) => number > 0).map(([name, number]) => {
    const chip = h('button', {type: 'button', 'aria-pressed': 'false', onclick: () => {
      if (!state.verdicts.delete(name)) state.verdicts.add(name);
      chip.setAttribute('aria-pressed', String(state.verdicts.has(name)));
      update();
    }}, `${verdictMark[name] ?? '!'} ${name} ${number}`);
    return chip;
  });
  const input = h('input', {type: 'search', placeholder: 'filter: euler 0.8 failed …', 'aria-label': 'filter cells', oninput: () => { state.words = input.value.trim().toLowerCase(); update(); }});
  update();
  byId('cells').append(h('div', {class: 'toolbar'}, input, h('div', {class: 'chips', role: 'group', 'aria-label': 'verdicts'}, chips), count),
    h('div', {class: 'scroll', tabindex: '0', role: 'group', 'aria-label': 'table of all cells'}, h('table', {class: 'cells'}, h('thead', {}, headings), body)));
}
