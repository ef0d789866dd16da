// What all pages share: the choice of run and head, kept in the address and carried along by the links.

const SHARED = ["run", "head", "__theme"];

/** What Python wrote into the page. */
export const settings = () => JSON.parse(document.getElementById("settings").textContent);

/** The run and head that the address names, or the first ones. */
export function chosen({ runs }) {
  const asked = new URLSearchParams(location.search);
  const able = runs.filter(({ heads }) => heads);
  const run = able.find(({ name }) => name === asked.get("run")) ?? able[0];
  const head = run && Object.hasOwn(run.heads, asked.get("head")) ? asked.get("head") : run?.head;
  return { run, head };
}

/** Keep a choice in the address; a reload and the links to other pages keep it, too. */
export function keep(choice) {
  const query = new URLSearchParams(location.search);
  for (const [key, value] of Object.entries(choice)) query.set(key, value);
  history.replaceState(null, "", `?${query}`);
  carry();
}

/** Let the links within the site carry the choice along. */
export function carry() {
  const asked = new URLSearchParams(location.search);
  const kept = new URLSearchParams(SHARED.filter((key) => asked.has(key)).map((key) => [key, asked.get(key)]));
  for (const link of document.querySelectorAll('a[href*=".html"]:not([data-own])')) {
    const [page] = link.getAttribute("href").split(/[?#]/);
    link.setAttribute("href", kept.size ? `${page}?${kept}` : page);
  }
}

/** Fill a list of choices; what cannot be chosen is greyed out. */
export function fill(select, options, value) {
  select.replaceChildren(
    ...options.map(({ name, text = name, disabled = false }) => {
      const option = new Option(text, name, false, name === value);
      option.disabled = disabled;
      return option;
    }),
  );
}

/** Save a text or a blob to the visitor's downloads. */
export function save(name, content, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

carry();
