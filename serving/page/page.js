() => {
  // Any file goes to the server, which says what is wrong with it. Gradio would turn away, without a word,
  // what the browser knows no image type for: HEIC photos, too.
  const isImage = (file) => file.type.startsWith("image/");
  const give = (file) => {
    const input = document.querySelector("#photo input[type=file]");
    if (!input) return;
    const files = new DataTransfer();
    files.items.add(isImage(file) ? file : new File([file], file.name, { type: "image/x-unknown" }));
    input.files = files.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  };
  const takeOver = (event, files) => {
    if (!event.target.closest?.("#photo") || !files?.length || isImage(files[0])) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    give(files[0]);
  };
  document.addEventListener("change", (event) => takeOver(event, event.target.files), true);
  document.addEventListener("drop", (event) => takeOver(event, event.dataTransfer?.files), true);
  // What is pasted anywhere on the page is taken as if it had been dropped on it.
  document.addEventListener("paste", (event) => {
    const [file] = event.clipboardData?.files ?? [];
    if (!file) return;
    event.preventDefault();
    give(file);
  });
  document.documentElement.lang = "en";
  // What Gradio leaves out for those who don't see the page: radio buttons that belong together share a
  // name, so that arrow keys go from one to the next, and a label; examples are called what they show;
  // one button's label is untranslated.
  const complete = () => {
    for (const [id, label] of [["version", "Version"], ["beside", "Compare with"]]) {
      const group = document.getElementById(id);
      group?.setAttribute("role", "radiogroup");
      group?.setAttribute("aria-label", label);
      group?.querySelectorAll("input").forEach((input) => { input.name = id; });
    }
    document.querySelectorAll("#examples button.thumbnail-item").forEach((button) => {
      button.ariaLabel = `Example: ${button.innerText.trim()}`;
    });
    document.querySelectorAll('[aria-label="common.upload"]').forEach((button) => {
      button.ariaLabel = "Upload others";
    });
  };
  complete();
  new MutationObserver(complete).observe(document.body, { childList: true, subtree: true });
}
