// Inside the stages: operators of profiled runs, by kind, so that two implementations with other operators compare.
const operatorKinds = ['convolution', 'linear', 'attention', 'normalization', 'other'];
const profiled = cells => cells.filter(cell => sides.every(name => side(cell, name)?.operators?.length));

/// Mean of each operator over the cells that ran the stage and step: Map of kind -> Map of name -> {ms, calls, gflop, least_ms}.
function operatorSums(all, name, stage, step) {
  const kinds = new Map();
  const wanted = row => (stage === 'all' || row.stage === stage) && (step === 'all' || row.step === Number(step));
  const cells = all.filter(cell => side(cell, name).operators.some(wanted));
  for (const cell of cells) {
    for (const row of side(cell, name).operators.filter(wanted)) {
      if (!kinds.has(row.kind)) kinds.set(row.kind, new Map());
      const sum = kinds.get(row.kind).get(row.name) ?? {ms: 0, calls: 0, gflop: 0, least_ms: 0};
      const add = (name, value) => sum[name] + (value ?? 0) / cells.length;
      kinds.get(row.kind).set(row.name, {ms: add('ms', row.ms.median), calls: add('calls', row.calls), gflop: add('gflop', row.gflop), least_ms: add('least_ms', row.least_ms)});
    }
  }
  return kinds;
}

const totalOf = (names, value = 'ms') => [...(names?.values() ?? [])].reduce((sum, entry) => sum + entry[value], 0);
const gflops = (gflop, milliseconds) => gflop > 0 && milliseconds > 0 ? `${trim(1000 * gflop / milliseconds, 3)} GFLOP/s` : '';
const roofline = (least, milliseconds) => least > 0 && milliseconds > 0 ? `${percent(least / milliseconds)} of the roofline` : '';

function operatorNames(kinds, kind) {
  return sides.map(name => {
    const entries = [...(kinds[name].get(kind) ?? [])].sort((a, b) => b[1].ms - a[1].ms).slice(0, 6);
    return h('td', {}, entries.map(([operator, entry]) => h('div', {class: 'operator'}, h('code', {}, operator), ` ${[`${ms(entry.ms)} in ${plural(Math.round(entry.calls), 'call')}`, gflops(entry.gflop, entry.ms), roofline(entry.least_ms, entry.ms)].filter(Boolean).join(', ')}`)));
  });
}

/// The optimized side's arithmetic rate, and its share of the roofline drawn beside its words.
function achieved(names) {
  const total = totalOf(names), least = totalOf(names, 'least_ms');
  return [h('td', {}, gflops(totalOf(names, 'gflop'), total) || '—'),
    h('td', {}, least > 0 && total > 0 ? [h('meter', {min: 0, max: 1, value: Math.min(1, least / total)}), ` ${percent(least / total)}`] : '—')];
}

/// A table of kinds with both sides and their ratio; a click on a kind shows its operators.
function operatorTable(cells) {
  const shown = profiled(cells);
  if (!shown.length) return null;
  const rows = shown.flatMap(cell => sides.flatMap(name => side(cell, name).operators));
  const stages = stageNames.filter(stage => rows.some(row => row.stage === stage));
  const state = {stage: stages.includes('unet') ? 'unet' : 'all', step: 'all'};
  const body = h('tbody', {}), steps = h('span', {});
  function update() {
    const kinds = Object.fromEntries(sides.map(name => [name, operatorSums(shown, name, state.stage, state.step)]));
    body.replaceChildren(...operatorKinds.filter(kind => sides.some(name => kinds[name].has(kind))).flatMap(kind => {
      const [reference, optimized] = sides.map(name => totalOf(kinds[name].get(kind)));
      const names = h('tr', {class: 'names', hidden: true}, h('td', {}), operatorNames(kinds, kind), h('td', {}), h('td', {}), h('td', {}));
      const toggle = h('button', {type: 'button', class: 'link', 'aria-expanded': 'false', onclick: () => {
        names.hidden = !names.hidden;
        toggle.setAttribute('aria-expanded', String(!names.hidden));
      }}, kind);
      return [h('tr', {}, h('th', {scope: 'row'}, toggle), h('td', {}, ms(reference)), h('td', {}, ms(optimized)), h('td', {}, optimized > 0 && reference > 0 ? ratio(reference / optimized) : '—'), achieved(kinds.optimized.get(kind))), names];
    }));
  }
  function updateSteps() {
    const executed = [...new Set(rows.filter(row => row.stage === state.stage && row.step >= 0).map(row => row.step))].sort((a, b) => a - b);
    state.step = 'all';
    steps.replaceChildren(executed.length < 2 ? '' : select('step', [['all', 'all together'], ...executed.map(step => [String(step), String(step + 1)])], 'all', value => { state.step = value; update(); }));
  }
  updateSteps();
  update();
  return [h('p', {class: 'muted'}, `Runs of their own, in which every operator was timed; ${shown.length > 1 ? `means over ${plural(shown.length, 'cell')}` : 'medians'}. A kind opens to its operators. GFLOP/s is what their formulas ask for; the roofline is the least time that this machine's measured arithmetic and memory allow their methods.`),
    h('div', {class: 'controls'}, select('stage', [['all', 'all'], ...stages.map(name => [name, name])], state.stage, value => { state.stage = value; updateSteps(); update(); }), steps),
    h('div', {class: 'scroll', tabindex: '0', role: 'group', 'aria-label': 'operators by kind'}, h('table', {class: 'compact operators'}, h('thead', {}, h('tr', {}, ['operators', 'reference', 'optimized', 'ratio', 'optimized does', 'of its roofline'].map(text => h('th', {scope: 'col'}, text)))), body))];
}

function operatorSection() {
  const table = operatorTable(report.cells);
  return table && h('section', {class: 'operators'}, h('h2', {}, 'Operators'), table);
}
