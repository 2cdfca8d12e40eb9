// What the report can do beyond being read: choose claims, sort tables, enlarge figures, change between light and
// dark, copy. Without it the page is whole: all claims, tables in their own order, plain images, the system's colours.
"use strict";
(() => {
  const make = (name, text, properties = {}) => Object.assign(document.createElement(name), {textContent: text}, properties);
  const button = (text, click) => {
    const made = make("button", text, {type: "button"});
    made.addEventListener("click", click);
    return made;
  };

  // --- light and dark: the system's choice, until somebody chooses here
  const KEY = "admmctl-theme";
  const page = document.documentElement;
  const stored = (action) => {
    try {
      return action(window.localStorage);
    } catch {
      return null; // a browser may keep nothing for files: the choice then lasts as long as the page
    }
  };
  const isDark = () =>
    page.dataset.theme ? page.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const toggle = button("", () => {
    page.dataset.theme = isDark() ? "light" : "dark";
    stored((storage) => storage.setItem(KEY, page.dataset.theme));
    name();
  });
  const name = () => { toggle.textContent = isDark() ? "Light" : "Dark"; };
  toggle.id = "theme";
  toggle.title = "Change between light and dark";
  const before = stored((storage) => storage.getItem(KEY));
  if (before === "light" || before === "dark") page.dataset.theme = before;
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);
  name();
  document.getElementById("tools").append(toggle);

  // --- claims: all of them, or those with one verdict, or of one paper
  const claims = [...document.querySelectorAll("#all-claims .claim")];
  const papers = [...document.querySelectorAll("#all-claims .paper")];
  const tally = document.querySelector(".tally");
  if (claims.length > 1) {
    const box = claims[0].closest("details");
    let wanted = null; // a verdict
    const buttons = [...tally.children].map((item) => {
      const made = button("", () => {
        wanted = wanted === item.dataset.verdict ? null : item.dataset.verdict;
        choose();
      });
      made.append(...item.childNodes);
      made.disabled = !claims.some((claim) => claim.classList.contains(item.dataset.verdict));
      item.append(made);
      return {made, verdict: item.dataset.verdict};
    });
    const paper = make("select", "", {id: "paper"});
    const titles = papers.map((section) => section.querySelector("h3").textContent);
    paper.append(...["All papers", ...titles].map((title) => make("option", title)));
    paper.addEventListener("change", () => choose());
    const said = make("p", "");
    said.setAttribute("role", "status");
    const everything = button("Show all", () => {
      wanted = null;
      paper.selectedIndex = 0;
      choose();
    });
    const choose = () => {
      for (const one of buttons) one.made.setAttribute("aria-pressed", one.verdict === wanted);
      papers.forEach((section, place) => {
        const inside = [...section.querySelectorAll(".claim")];
        const isChosen = paper.selectedIndex === 0 || paper.selectedIndex === place + 1;
        for (const claim of inside) claim.hidden = !isChosen || (wanted !== null && !claim.classList.contains(wanted));
        section.hidden = inside.every((claim) => claim.hidden);
      });
      const shown = claims.filter((claim) => !claim.hidden).length;
      said.textContent = `${shown} of ${claims.length} claims`;
      everything.hidden = shown === claims.length;
      if (box && shown < claims.length) box.open = true;
    };
    const row = make("div", "", {className: "choice"});
    row.append(make("label", "Paper", {htmlFor: "paper"}), paper, said, everything);
    tally.after(row);
    choose();
  }

  // --- tables: a heading sorts by its column; numbers by value, missing ones last either way
  const words = new Intl.Collator("en", {numeric: true});
  const sort = (table, place, heading) => {
    const isNumber = heading.dataset.sort === "number";
    const was = heading.getAttribute("aria-sort");
    const sign = was === "ascending" ? -1 : 1;
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const rows = [...table.tBodies[0].rows].map((row) => {
      const cell = row.cells[place];
      const value = cell.dataset.value === undefined ? NaN : Number(cell.dataset.value);
      return {row, value, text: cell.textContent};
    });
    const valued = isNumber || rows.some((one) => !Number.isNaN(one.value));
    rows.sort((one, two) => {
      if (!valued) return sign * words.compare(one.text, two.text);
      const missing = Number.isNaN(one.value) - Number.isNaN(two.value);
      if (missing || Number.isNaN(one.value)) return missing;
      return one.value === two.value ? 0 : sign * (one.value < two.value ? -1 : 1);
    });
    table.tBodies[0].append(...rows.map((one) => one.row));
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    if (table.tBodies[0].rows.length < 2) continue;
    [...table.tHead.rows[0].cells].forEach((heading, place) => {
      if (!heading.dataset.sort) return;
      const made = button(heading.textContent, () => sort(table, place, heading));
      heading.replaceChildren(made);
    });
  }

  // --- figures: a click, or Enter, shows one in the whole window; Esc, Enter or a click closes it
  const box = make("dialog", "", {id: "zoom"});
  const picture = make("img", "");
  const caption = make("p", "");
  const close = button("Close", () => box.close());
  box.append(picture, caption, close);
  box.setAttribute("aria-label", "Enlarged figure");
  box.addEventListener("click", () => box.close());
  document.body.append(box);
  const images = [...document.querySelectorAll("img.zoomable")];
  let shown = 0;
  const show = (place) => {
    shown = (place + images.length) % images.length;
    picture.src = images[shown].src;
    picture.alt = images[shown].alt;
    const title = images[shown].closest("figure").querySelector("strong");
    caption.textContent = title ? title.textContent : "";
  };
  box.addEventListener("keydown", (event) => {
    const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
    if (step) show(shown + step);
  });
  images.forEach((image, place) => {
    const opener = button("", () => {
      show(place);
      box.showModal();
      close.focus();
    });
    opener.className = "zoom";
    opener.setAttribute("aria-label", `Enlarge: ${image.alt}`);
    image.replaceWith(opener);
    opener.append(image);
  });

  // --- command lines can be copied
  for (const block of document.querySelectorAll("pre.copy")) {
    const row = make("div", "", {className: "copied"});
    const copy = button("Copy", async () => {
      const line = block.textContent;
      try {
        await navigator.clipboard.writeText(line);
        copy.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(block); // where a page may not write there, the reader can
        copy.textContent = "Selected";
      }
      setTimeout(() => { copy.textContent = "Copy"; }, 2000);
    });
    block.replaceWith(row);
    row.append(block, copy);
  }

  // --- a link to a run opens its box
  const open = () => {
    const place = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let box = place; box; box = box.parentElement) if (box.tagName === "DETAILS") box.open = true;
    if (place && place.tagName === "DETAILS") place.scrollIntoView();
  };
  addEventListener("hashchange", open);
  if (location.hash) open();
})();
