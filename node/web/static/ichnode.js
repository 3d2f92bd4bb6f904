// Pages work without this. With it they show themselves anew, and slices scroll.
"use strict";

const EVERY_MS = 3000;

// -- regions that show themselves anew --------------------------------------------

function startLive() {
  if (!document.querySelector("[data-live]")) return;
  const address = new URL(location.href);
  address.searchParams.delete("said");
  let tag = null;

  async function look() {
    if (!document.hidden) {
      try {
        const headers = tag ? { "If-None-Match": tag } : {};
        const answer = await fetch(address, { headers, cache: "no-store", redirect: "manual" });
        if (answer.type === "opaqueredirect") return location.reload(); // the login has ended
        if (answer.status >= 500) throw new Error(answer.statusText);
        if (answer.status === 200) {
          tag = answer.headers.get("ETag");
          const page = new DOMParser().parseFromString(await answer.text(), "text/html");
          document.querySelectorAll("[data-live]").forEach((region) => renew(region, page));
        }
        document.getElementById("away").hidden = true;
      } catch {
        sayThatItIsAway();
      }
    }
    setTimeout(look, EVERY_MS);
  }
  setTimeout(look, EVERY_MS);
}

function sayThatItIsAway() {
  const away = document.getElementById("away");
  if (!away.hidden) return;
  away.querySelector("time").textContent = new Date().toLocaleTimeString();
  away.hidden = false;
}

function renew(region, page) {
  const fresh = page.getElementById(region.id);
  if (!fresh || fresh.outerHTML === region.outerHTML) return;
  const isAnswering = document.querySelector("form.labels[data-touched]"); // it would be lost
  if (fresh.dataset.key !== region.dataset.key && !isAnswering) return location.reload();
  if (fresh.dataset.says !== region.dataset.says) {
    document.getElementById("told").textContent = fresh.dataset.says;
  }
  const focused = region.contains(document.activeElement) ? pathTo(document.activeElement) : null;
  region.replaceWith(fresh);
  if (focused) fresh.querySelector(focused)?.focus({ preventScroll: true });
}

// What finds an element again in a page that was drawn anew.
function pathTo(element) {
  if (element.id) return `#${CSS.escape(element.id)}`;
  const href = element.getAttribute("href");
  return href ? `a[href="${CSS.escape(href)}"]` : element.tagName;
}

// -- slices -----------------------------------------------------------------------

function startViewer() {
  const rows = [...document.querySelectorAll("#slices tbody tr")].reverse();
  const courses = [...document.querySelectorAll(".course")];
  if (!rows.length) return;
  const viewer = document.getElementById("viewer");
  const count = rows.length;
  const parts = {};
  for (const id of ["slice", "place", "before", "after", "flagged", "evidence", "whole"]) {
    parts[id] = document.getElementById(id);
  }
  const slices = rows.map((row) => ({
    row,
    mm: row.cells[1].textContent.trim(),
    said: courses.map((_, n) => row.cells[n + 2].lastChild.textContent.trim()),
    hot: courses.map((_, n) => row.cells[n + 2].classList.contains("hot")),
  }));
  const flagged = slices.flatMap((slice, n) => (slice.hot.some(Boolean) ? [n + 1] : []));
  const withEvidence = new Set((viewer?.dataset.evidence || "").split(" ").filter(Boolean).map(Number));
  const pictures = new Map();
  let current = Number(parts.slice?.value || 0);
  let wantsEvidence = false;

  function picture(number) {
    const isMap = wantsEvidence && withEvidence.has(number);
    const address = `/series/${viewer.dataset.series}/${isMap ? "evidence" : "pictures"}/${number}.png`;
    if (!pictures.has(address)) {
      const image = new Image(912, 568);
      image.decoding = "async";
      image.src = address;
      pictures.set(address, image);
    }
    return pictures.get(address);
  }

  function describe(number) {
    const { said, hot } = slices[number - 1];
    const names = courses.map((course) => course.querySelector(".label").textContent);
    const told = names.flatMap((name, n) => (hot[n] ? [`${name} ${said[n]}`] : []));
    return `Slice ${number} of ${count}${told.length ? `, flagged: ${told.join(", ")}` : ", nothing flagged"}`;
  }

  function show(number) {
    current = Math.min(count, Math.max(1, number));
    const slice = slices[current - 1];
    const x = ((current - 0.5) * 1000) / count;
    courses.forEach((course, n) => {
      const cursor = course.querySelector(".cursor");
      cursor.setAttribute("x1", x);
      cursor.setAttribute("x2", x);
      course.querySelector(".here").textContent = slice.said[n];
      course.classList.toggle("over", slice.hot[n]);
    });
    slices.forEach(({ row }, n) => row.classList.toggle("now", n + 1 === current));
    if (!viewer?.dataset.series) return;
    parts.slice.value = current;
    parts.slice.setAttribute("aria-valuetext", describe(current));
    parts.place.innerHTML = "";
    const bold = document.createElement("b");
    bold.textContent = current;
    const mm = document.createElement("span");
    mm.className = "sub";
    mm.textContent = `${slice.mm} mm`;
    parts.place.append("Slice ", bold, ` of ${count} `, mm);
    const image = picture(current);
    image.id = "picture";
    image.alt = describe(current);
    const shown = viewer.querySelector(".stage img");
    if (shown !== image) {
      const swap = () => viewer.querySelector(".stage").replaceChildren(picture(current));
      if (image.complete) swap();
      else image.addEventListener("load", swap, { once: true });
    }
    const isMap = wantsEvidence && withEvidence.has(current);
    viewer.querySelector(".stage").classList.toggle("whole", isMap);
    parts.whole.href = image.src;
    parts.before.href = `?slice=${Math.max(1, current - 1)}`;
    parts.after.href = `?slice=${Math.min(count, current + 1)}`;
    history.replaceState(null, "", `?slice=${current}`);
  }

  const next = () => {
    if (flagged.length) show(flagged.find((number) => number > current) || flagged[0]);
  };
  const toggleEvidence = () => {
    if (!parts.evidence) return;
    wantsEvidence = !wantsEvidence;
    parts.evidence.setAttribute("aria-pressed", wantsEvidence);
    show(wantsEvidence && !withEvidence.has(current) ? [...withEvidence][0] : current);
  };

  document.querySelectorAll("a[data-slice]").forEach((link) =>
    link.addEventListener("click", (event) => {
      event.preventDefault();
      show(Number(link.dataset.slice));
    }),
  );
  courses.forEach((course) => {
    const strip = course.querySelector(".curve");
    const follow = (event) => {
      const box = strip.getBoundingClientRect();
      show(Math.ceil(((event.clientX - box.left) / box.width) * count));
    };
    strip.addEventListener("pointerdown", (event) => {
      strip.setPointerCapture(event.pointerId);
      follow(event);
    });
    strip.addEventListener("pointermove", (event) => event.buttons && follow(event));
  });
  if (!viewer?.dataset.series) return;

  parts.slice.addEventListener("input", () => show(Number(parts.slice.value)));
  for (const [id, step] of [["before", -1], ["after", 1]]) {
    parts[id].addEventListener("click", (event) => {
      event.preventDefault();
      show(current + step);
    });
  }
  let turned = 0;
  viewer.querySelector(".stage").addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      turned += event.deltaY;
      if (Math.abs(turned) < 40) return;
      show(current + (turned > 0 ? -1 : 1));
      turned = 0;
    },
    { passive: false },
  );
  if (flagged.length) {
    parts.flagged.hidden = false;
    parts.flagged.addEventListener("click", next);
  }
  if (parts.evidence) {
    parts.evidence.hidden = false;
    parts.evidence.addEventListener("click", toggleEvidence);
  }
  document.addEventListener("keydown", (event) => {
    const where = event.target;
    if (event.ctrlKey || event.metaKey || event.altKey || where.matches("input, textarea, select, summary")) return;
    const step = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 5, PageDown: -5 }[event.key];
    if (step && !where.closest(".scrolls")) show(current + step);
    else if (event.key === "n") next();
    else if (event.key === "e") toggleEvidence();
    else return;
    event.preventDefault();
  });

  // The picture that is there already is the first one; the others come one after the other.
  const first = viewer.querySelector(".stage img");
  pictures.set(new URL(first.src).pathname, first);
  const order = slices.map((_, n) => n + 1).sort((a, b) => Math.abs(a - current) - Math.abs(b - current));
  const load = () => {
    const number = order.shift();
    if (!number) return;
    const image = picture(number);
    if (image.complete) setTimeout(load);
    else ["load", "error"].forEach((end) => image.addEventListener(end, load, { once: true }));
  };
  show(current);
  load();
}

// -- a label ----------------------------------------------------------------------

function startLabel() {
  const form = document.querySelector("form.labels");
  if (!form) return;
  const radio = (name, value) => document.getElementById(`${name}-${value}`);
  const ofKinds = (value) => [...form.querySelectorAll(`fieldset:not(.whole) input[value=${value}]`)];
  const kinds = ofKinds("present");
  let before = form.elements.any.value;

  form.addEventListener("input", () => (form.dataset.touched = ""));

  // What follows from an answer is answered with it, and what contradicts it is answered no more.
  form.addEventListener("change", ({ target }) => {
    if (kinds.includes(target)) radio("any", "present").checked = true;
    const whole = form.elements.any.value;
    const wrong = { absent: kinds, present: before === "absent" ? ofKinds("absent") : [] }[whole];
    wrong?.forEach((kind) => (kind.checked = false));
    before = whole;
  });

  const choose = (chosen) => {
    chosen.checked = true;
    for (const name of ["input", "change"]) chosen.dispatchEvent(new Event(name, { bubbles: true }));
    chosen.focus({ preventScroll: true });
    chosen.closest("fieldset").scrollIntoView({ block: "nearest" }); // the slice stays in view
  };
  document.addEventListener("keydown", (event) => {
    const where = event.target;
    const isText = where.matches("input:not([type=radio], [type=range]), textarea, select");
    if (event.ctrlKey || event.metaKey || event.altKey || isText) return;
    const word = { p: "present", a: "absent", u: "unsure" }[event.key];
    const kind = kinds[Number(event.key) - 1];
    if (word) choose(radio("any", word));
    else if (kind) choose(kind);
    else if (event.key === "s") document.getElementById("skip").click();
    else return;
    event.preventDefault();
  });
}

startLive();
startViewer();
startLabel();
