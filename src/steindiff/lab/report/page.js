"use strict";
// Everything here is a convenience: the page is complete without it.
const copy = document.getElementById("copy");
copy.hidden = false;
copy.addEventListener("click", () => {
  const range = document.createRange();
  range.selectNodeContents(document.getElementById("command"));
  const selection = getSelection();
  selection.removeAllRanges();
  selection.addRange(range);
  // Pages opened from a file may have no clipboard; the text is then at least selected.
  const done = () => { copy.textContent = "Copied"; };
  if (navigator.clipboard) navigator.clipboard.writeText(selection.toString()).then(done, () => {});
});
const filter = document.getElementById("filter");
if (filter) {
  filter.hidden = false;
  const named = document.querySelectorAll("#cells [data-name], #samples [data-name], #steps [data-name]");
  filter.querySelector("input").addEventListener("input", (event) => {
    const wanted = event.target.value.trim().toLowerCase();
    for (const part of named) part.toggleAttribute("data-hidden", !part.dataset.name.includes(wanted));
  });
}
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const part of closed) part.open = true;
});
addEventListener("afterprint", () => { for (const part of closed) part.open = false; });
