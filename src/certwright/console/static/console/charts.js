/* Charts read their numbers from <script type="application/json"> and their colours from the theme.
   <canvas data-chart="columns|bars" data-source="ID">; data: labels, values, and optionally bands (inks) and links. */
(() => {
  if (!window.Chart) return;
  const css = (name) => {
    const probe = document.createElement("i");
    probe.hidden = true;
    probe.style.color = `var(${name})`;
    document.body.append(probe);
    const value = getComputedStyle(probe).color;
    probe.remove();
    return value;
  };
  const made = [];
  const draw = () => {
    made.splice(0).forEach((chart) => chart.destroy());
    const ink = Object.fromEntries(["red", "orange", "yellow", "green", "blue", "gray"].map((name) => [name, css(`--cw-ink-${name}`)]));
    const line = css("--tblr-border-color-translucent");
    Chart.defaults.font = { family: getComputedStyle(document.body).fontFamily, size: 11 };
    Chart.defaults.color = css("--tblr-secondary");
    Chart.defaults.animation = false;
    Chart.defaults.maintainAspectRatio = false;
    document.querySelectorAll("canvas[data-chart]").forEach((canvas) => {
      const data = JSON.parse(document.getElementById(canvas.dataset.source).textContent);
      const lying = canvas.dataset.chart === "bars";
      const names = { grid: { display: false }, border: lying ? { display: false } : { color: line }, ticks: lying ? {} : { maxRotation: 0, autoSkipPadding: 14, autoSkip: data.labels.length > 8 } };
      const counts = { beginAtZero: true, grid: { color: line }, border: { display: false }, ticks: { maxTicksLimit: 5, precision: 0 } };
      made.push(new Chart(canvas, {
        type: "bar",
        data: { labels: data.labels, datasets: [{ data: data.values, backgroundColor: data.bands ? data.bands.map((band) => ink[band]) : ink.blue, borderRadius: 3, maxBarThickness: lying ? 11 : 28 }] },
        options: {
          indexAxis: lying ? "y" : "x",
          scales: lying ? { x: counts, y: names } : { x: names, y: counts },
          plugins: { legend: { display: false }, tooltip: { displayColors: false } },
          onClick: (_event, hits) => { const href = hits[0] && data.links?.[hits[0].index]; if (href) location.assign(href); },
          onHover: (event, hits) => { event.native.target.classList.toggle("cw-pointer", !!(hits[0] && data.links?.[hits[0].index])); },
        },
      }));
    });
  };
  /* the menu of a chart: its numbers as CSV, or the picture */
  const save = (blob, name) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const cell = (value) => `"${String(value).replace(/"/g, '""')}"`;
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-chart-file]");
    const canvas = button && document.getElementById(button.dataset.chartOf);
    if (!canvas) return;
    if (button.dataset.chartFile === "png") { canvas.toBlob((blob) => save(blob, `${canvas.id}.png`)); return; }
    const data = JSON.parse(document.getElementById(canvas.dataset.source).textContent);
    const lines = data.labels.map((label, at) => `${cell(label)},${data.values[at]}`);
    save(new Blob(["\ufeff", lines.join("\r\n"), "\r\n"], { type: "text/csv" }), `${canvas.id}.csv`);
  });
  draw();
  document.addEventListener("cw:theme", draw);
})();
