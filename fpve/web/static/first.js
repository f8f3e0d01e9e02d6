// The theme that was chosen here, before anything is painted: a module would come after a flash of the other one.
try {
  document.documentElement.dataset.theme = localStorage.getItem("fpve.theme") || "auto";
} catch {
  document.documentElement.dataset.theme = "auto"; // Storage is switched off.
}
