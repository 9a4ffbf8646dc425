// Used by report_page_test: works the page as a reader would and leaves what it saw in <html data-driven="...">.
const seen = {errors: []};
addEventListener('error', event => seen.errors.push(event.message));
addEventListener('unhandledrejection', event => seen.errors.push(String(event.reason)));
addEventListener('securitypolicyviolation', event => seen.errors.push(`refused: ${event.violatedDirective} ${event.blockedURI}`));
console.error = (...words) => seen.errors.push(words.join(' '));

addEventListener('load', async () => {
  const wait = milliseconds => new Promise(resolve => setTimeout(resolve, milliseconds));
  const all = selector => [...document.querySelectorAll(selector)];
  const press = text => all('button').find(button => button.textContent === text).click();
  dispatchEvent(new Event('beforeprint'));  // everything that waits to be seen
  await wait(500);
  seen.plots = all('.main-svg').length;
  for (const name of all('#axes .chips button').map(button => button.textContent)) press(name);
  for (const box of all('#axes select, #pictures select, section.operators select')) {
    for (const option of [...box.options]) {
      box.value = option.value;
      box.dispatchEvent(new Event('change'));
    }
  }
  for (const kind of all('section.operators button')) kind.click();
  seen.operators = document.querySelector('section.operators')?.textContent ?? '';
  await wait(500);
  seen.rows = all('.cells tbody tr').length;
  seen.firstVerdict = document.querySelector('.cells tbody .badge').textContent;
  for (const index of all('.cells thead button').keys()) all('.cells thead button')[index].click();
  const filter = document.querySelector('input[type=search]');
  filter.value = 'failed';
  filter.dispatchEvent(new Event('input'));
  seen.filteredRows = all('.cells tbody tr').length;
  for (const cell of report.cells) {
    location.hash = `cell-${cell.index}`;
    await wait(200);
    seen.opened = (seen.opened ?? 0) + byId('detail').open;
  }
  location.hash = 'cell-1';
  await wait(500);
  seen.detail = byId('detail').textContent;
  seen.canvases = all('#detail canvas').length;
  press('Flicker');
  await wait(1000);
  press('Flicker');
  const slider = document.querySelector('input[type=range]');
  slider.value = 20;
  slider.dispatchEvent(new Event('input'));
  seen.slider = all('.layer')[1].style.clipPath;
  press('Close');
  await wait(1000);
  seen.resources = performance.getEntriesByType('resource').map(entry => entry.name).filter(name => !name.startsWith('data:'));
  seen.overflow = document.documentElement.scrollWidth > innerWidth;
  seen.alert = document.querySelector('.alert-title')?.textContent ?? '';
  document.documentElement.dataset.driven = encodeURIComponent(JSON.stringify(seen));
});
