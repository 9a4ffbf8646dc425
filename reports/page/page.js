// Puts the page together: figures at once, everything that needs pictures or plots when the rest of the file has been read.
renderAlerts();
renderFigures();

document.addEventListener('DOMContentLoaded', () => {
  byId('overview').append(...[hero(), stageSection(), operatorSection()].filter(Boolean));
  renderAxisPlots();
  renderGrid();
  renderPromises();
  renderTable();
  const sections = [['figures', 'Summary'], ['axes', 'Axes'], ['pictures', 'Pictures'], ['promises', 'Promises'], ['cells', 'Cells'], ['environment', 'Environment'], ['method', 'Method']];
  byId('nav').append(...sections.filter(([id]) => !byId(id).hidden).map(([id, text]) => h('a', {href: `#${id}`}, text)));

  const dialog = byId('detail');
  dialog.addEventListener('close', () => {
    clearInterval(flickerTimer);
    flickerTimer = null;
    forgetPlots(dialog);
    dialog.replaceChildren();
    if (location.hash.startsWith('#cell-')) history.replaceState(null, '', location.pathname + location.search);
  });
  dialog.addEventListener('click', event => { if (event.target === dialog) dialog.close(); });
  addEventListener('hashchange', followAddress);
  followAddress();
});
