for (const chart of document.querySelectorAll("svg[data-points]")) {
  const points = JSON.parse(chart.dataset.points);
  const pointer = chart.querySelector(".pointer");
  const reading = chart.parentElement.querySelector(".reading");
  if (!points.length) continue;
  chart.addEventListener("pointermove", (event) => {
    const box = chart.getBoundingClientRect();
    const at = (event.clientX - box.left) / box.width * chart.viewBox.baseVal.width;
    const near = points.reduce((a, b) => Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a);
    pointer.setAttribute("x1", near[0]);
    pointer.setAttribute("x2", near[0]);
    pointer.style.visibility = "visible";
    reading.textContent = near[1];
  });
  chart.addEventListener("pointerleave", () => {
    pointer.style.visibility = "hidden";
    reading.textContent = "";
  });
}
