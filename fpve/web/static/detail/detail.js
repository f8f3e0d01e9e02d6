export function mountDetail() {
  return { update() {} };
}
