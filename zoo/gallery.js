"use strict";
const table = document.getElementById("models");
const headings = [...table.tHead.rows[0].cells];
const say = (text) => { document.getElementById("status").textContent = text; };

function key(row, column) {
  const cell = row.cells[column];
  if (!("order" in cell.dataset)) return cell.textContent;
  return cell.dataset.order === "" ? null : Number(cell.dataset.order);
}

function compare(a, b) {
  if (a === null || b === null) return (a === null) - (b === null); // unknown figures come last
  return typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
}

headings.forEach((heading, column) => {
  heading.firstElementChild.addEventListener("click", () => {
    const falling = heading.getAttribute("aria-sort") === "ascending";
    headings.forEach((other) => other.setAttribute("aria-sort", "none"));
    heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const body = table.tBodies[0];
    const rows = [...body.rows].sort((one, two) => {
      const [a, b] = [key(one, column), key(two, column)];
      return falling && a !== null && b !== null ? compare(b, a) : compare(a, b);
    });
    body.append(...rows);
    say(`Sorted by ${heading.textContent.trim()}, ${falling ? "falling" : "rising"}.`);
  });
});

async function copy(button) {
  const code = button.previousElementSibling;
  try {
    await navigator.clipboard.writeText(code.textContent);
  } catch { // pages opened from a file may not use the clipboard: leave the line selected
    getSelection().selectAllChildren(code);
    const done = document.execCommand("copy");
    if (!done) { say("The line is selected: copy it with your keyboard."); return; }
  }
  say("Copied.");
}

const copies = document.querySelectorAll(".copy");
copies.forEach((button) => button.addEventListener("click", () => copy(button)));
const card = () => document.getElementById(decodeURIComponent(location.hash.slice(1)));
const unfold = () => card()?.querySelector("details").setAttribute("open", "");
addEventListener("hashchange", unfold);
unfold();
