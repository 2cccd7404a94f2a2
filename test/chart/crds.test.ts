import { expect } from 'chai';
import { definitions } from '../../src/resources/definitions';
import { minimal, withMore } from '../support/chart';
import { type Manifest, prepareHelm, render } from '../support/helm';

const crds = (manifests: readonly Manifest[]): readonly Manifest[] =>
  manifests.filter(({ kind }) => kind === 'CustomResourceDefinition');

before(prepareHelm);

describe('the custom resources of the chart', () => {
  it('are those of src/resources, and stay when the release goes', () => {
    const rendered = crds(render(minimal));
    const made = Object.values(definitions());
    expect(rendered.map(({ metadata }) => metadata.name)).to.deep.equal(made.map(({ metadata }) => metadata.name));
    for (const [i, { metadata, spec }] of rendered.entries()) {
      expect(metadata.annotations).to.deep.equal({ 'helm.sh/resource-policy': 'keep' });
      expect(spec).to.deep.equal(JSON.parse(JSON.stringify(made[i].spec)));
    }
  });

  it('are left to others where values say so', () => {
    expect(crds(render(withMore({ crds: { install: false } })))).to.deep.equal([]);
  });
});
