// Inside the stages: operators of profiled runs, by kind, so that two implementations with other operators compare.
const operatorKinds = ['convolution', 'linear', 'attention', 'normalization', 'other'];
const profiled = cells => cells.filter(cell => sides.every(name => side(cell, name)?.operators?.length));

/// Mean milliseconds of each operator over the cells that ran the stage and step: Map of kind -> Map of name -> {ms, calls}.
function operatorSums(all, name, stage, step) {
  const kinds = new Map();
  const wanted = row => (stage === 'all' || row.stage === stage) && (step === 'all' || row.step === Number(step));
  const cells = all.filter(cell => side(cell, name).operators.some(wanted));
  for (const cell of cells) {
    for (const row of side(cell, name).operators.filter(wanted)) {
      if (!kinds.has(row.kind)) kinds.set(row.kind, new Map());
      const sum = kinds.get(row.kind).get(row.name) ?? {ms: 0, calls: 0};
      kinds.get(row.kind).set(row.name, {ms: sum.ms + row.ms.median / cells.length, calls: sum.calls + row.calls / cells.length});
    }
  }
  return kinds;
}

const totalOf = names => [...(names?.values() ?? [])].reduce((sum, entry) => sum + entry.ms, 0);

function operatorNames(kinds, kind) {
  return sides.map(name => {
    const entries = [...(kinds[name].get(kind) ?? [])].sort((a, b) => b[1].ms - a[1].ms).slice(0, 6);
    return h('td', {}, entries.map(([operator, entry]) => h('div', {class: 'operator'}, h('code', {}, operator), ` ${ms(entry.ms)} in ${plural(Math.round(entry.calls), 'call')}`)));
  });
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
      const names = h('tr', {class: 'names', hidden: true}, h('td', {}), operatorNames(kinds, kind), h('td', {}));
      const toggle = h('button', {type: 'button', class: 'link', 'aria-expanded': 'false', onclick: () => {
        names.hidden = !names.hidden;
        toggle.setAttribute('aria-expanded', String(!names.hidden));
      }}, kind);
      return [h('tr', {}, h('th', {scope: 'row'}, toggle), h('td', {}, ms(reference)), h('td', {}, ms(optimized)), h('td', {}, optimized > 0 && reference > 0 ? ratio(reference / optimized) : '—')), names];
    }));
  }
  function updateSteps() {
    const executed = [...new Set(rows.filter(row => row.stage === state.stage && row.step >= 0).map(row => row.step))].sort((a, b) => a - b);
    state.step = 'all';
    steps.replaceChildren(executed.length < 2 ? '' : select('step', [['all', 'all together'], ...executed.map(step => [String(step), String(step + 1)])], 'all', value => { state.step = value; update(); }));
  }
  updateSteps();
  update();
  return [h('p', {class: 'muted'}, `Runs of their own, in which every operator was timed; ${shown.length > 1 ? `means over ${plural(shown.length, 'cell')}` : 'medians'}. A kind opens to its operators.`),
    h('div', {class: 'controls'}, select('stage', [['all', 'all'], ...stages.map(name => [name, name])], state.stage, value => { state.stage = value; updateSteps(); update(); }), steps),
    h('table', {class: 'compact operators'}, h('thead', {}, h('tr', {}, ['operators', 'reference', 'optimized', 'ratio'].map(text => h('th', {scope: 'col'}, text)))), body)];
}

function operatorSection() {
  const table = operatorTable(report.cells);
  return table && h('section', {class: 'operators'}, h('h2', {}, 'Operators'), table);
}
