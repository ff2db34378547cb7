
"use strict";
const video = document.getElementById("video");
const timeline = document.getElementById("timeline");
const playhead = document.getElementById("playhead");
const cards = [...document.querySelectorAll(".card")];
const bars = [...document.querySelectorAll(".bar")];
const lanes = [...document.querySelectorAll(".lane")];
const checkboxes = [...document.querySelectorAll(".chip input")];
const least = document.getElementById("least");
const order = document.getElementById("order");
const list = document.getElementById("cards");
const duration = Number(timeline.dataset.duration);
const number = (element, name) => Number(element.dataset[name]);

function showTime() {
  const now = video.currentTime;
  const x = `${Math.min(100, 100 * now / duration)}%`;
  playhead.setAttribute("x1", x);
  playhead.setAttribute("x2", x);
  playhead.classList.add("on");
  for (const element of [...cards, ...bars]) {
    element.classList.toggle("now", number(element, "start") <= now && now < number(element, "end"));
  }
}

function jumpTo(second, play) {
  if (!video) return;
  video.currentTime = second;
  if (play) video.play().catch(() => {});
}

function choose() {
  const labels = new Set(checkboxes.filter((box) => box.checked).map((box) => box.dataset.label));
  const scores = cards.map((card) => number(card, "score"));
  const low = Math.min(...scores), high = Math.max(...scores);
  const from = low + (high - low) * Number(least.value) / 100;
  const shows = (label, score) => labels.has(label) && score >= from - 1e-12;
  let shown = 0;
  for (const card of cards) {
    card.hidden = !shows(card.dataset.label, number(card, "score"));
    shown += !card.hidden;
  }
  for (const bar of bars) {
    bar.toggleAttribute("hidden", !shows(bar.closest(".lane").dataset.label, number(bar, "score")));
    bar.setAttribute("display", bar.hasAttribute("hidden") ? "none" : "inline");
  }
  document.getElementById("least-shown").value = cards.length ? from.toPrecision(3) : "";
  document.getElementById("nothing").hidden = shown > 0;
}

function sortCards() {
  const by = order.value;
  const value = (card) => by === "score" ? -number(card, "score") : number(card, "start");
  list.append(...cards.sort((first, second) => value(first) - value(second)));
}

for (const bar of bars) {
  bar.addEventListener("click", (event) => {
    event.stopPropagation();
    jumpTo(number(bar, "start"), true);
    if (video) event.preventDefault();
  });
}
for (const card of cards) {
  card.querySelector("button").addEventListener("click", () => jumpTo(number(card, "start"), true));
}
timeline.addEventListener("click", (event) => {
  const box = timeline.getBoundingClientRect();
  jumpTo(duration * (event.clientX - box.left) / box.width, false);
});
if (video) {
  for (const name of ["timeupdate", "seeked", "loadedmetadata"]) video.addEventListener(name, showTime);
  video.addEventListener("error", () => { document.getElementById("unplayable").hidden = false; });
}
for (const box of checkboxes) box.addEventListener("change", choose);
least.addEventListener("input", choose);
order.addEventListener("change", sortCards);
choose();
