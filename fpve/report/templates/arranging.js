// The controls are shown here, so that without a script there are none that do nothing.
const controls = document.querySelector(".arrange");
if (controls) {
  const [select, turn, input, output] = ["select", "button", "input", "output"].map((tag) => controls.querySelector(tag));
  const lists = [...document.querySelectorAll(".arranged")];
  const items = lists.map((list) => [...list.children]);
  const plain = (text) => text.normalize("NFKC").toLocaleLowerCase();
  // What a list is of belongs to each of its items: they are found by that, too.
  const heading = (item) => item.closest("section")?.querySelector("h2")?.textContent ?? "";
  const texts = new Map(items.flat().map((item) => [item, plain(`${heading(item)} ${item.textContent}`)]));
  const collator = new Intl.Collator(undefined, { numeric: true });
  let falls;

  const sort = () => {
    const { value: key, dataset: { kind } } = select.selectedOptions[0];
    const isText = kind === "text";
    const names = isText ? ["A to Z ↑", "Z to A ↓"] : ["smallest first ↑", "largest first ↓"];
    turn.textContent = names[Number(falls)];
    const value = (item) => item.getAttribute(`data-${key}`);
    const compare = (one, other) => isText ? collator.compare(value(one), value(other)) : value(one) - value(other);
    lists.forEach((list, at) => {
      // Sorting is stable: what is equal, or has no value, stays as the page was written.
      const known = items[at].filter((item) => value(item) !== null);
      known.sort((one, other) => falls ? compare(other, one) : compare(one, other));
      list.append(...known, ...items[at].filter((item) => value(item) === null));
    });
  };
  const choose = () => {
    falls = Boolean(select.selectedOptions[0].dataset.falls);
    sort();
  };
  const filter = () => {
    const words = plain(input.value).split(/\s+/).filter(Boolean);
    let shown = 0;
    lists.forEach((list, at) => {
      let here = 0;
      for (const item of items[at]) {
        item.hidden = !words.every((word) => texts.get(item).includes(word));
        here += Number(!item.hidden);
      }
      const section = list.closest("section");
      if (section) section.hidden = here === 0 && words.length > 0;
      shown += here;
    });
    const all = texts.size;
    output.textContent = `${shown === all ? "" : `${shown.toLocaleString("en")} of `}${all.toLocaleString("en")} ${output.dataset.noun}`;
  };
  select.addEventListener("change", choose);
  turn.addEventListener("click", () => { falls = !falls; sort(); });
  input.addEventListener("input", filter);
  // Browsers fill in again what was typed before a page was loaded anew.
  choose();
  filter();
  controls.hidden = false;
}
