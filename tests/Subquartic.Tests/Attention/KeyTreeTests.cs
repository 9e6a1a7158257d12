using Subquartic.Attention;
using Subquartic.Criteria;
using Subquartic.Generation;

namespace Subquartic.Tests.Attention;

public sealed class KeyTreeTests
{
    [Theory]
    [InlineData(false, 0)]
    [InlineData(true, 0)]
    [InlineData(true, 37)]
    public void Every_key_lies_in_one_leaf_and_every_node_is_its_halves(bool across, int beyond)
    {
        ScaleSchedule maps = TokenFieldSampler.Schedule(32);
        int keys = maps.Tokens + beyond;
        KeyTree tree = KeyTree.Create(maps, keys, leafSize: 5, across);
        Assert.Equal(Enumerable.Range(0, keys), tree.Order.Order());
        Assert.Equal(keys, tree.BlockEnds.Sum(end => tree.Count[end - 1]));
        Assert.All(tree.BlockEnds, end => Assert.InRange(tree.Count[end - 1], 1, KeyTree.MaxCount));
        Assert.All(tree.Coarse, node => Assert.InRange(tree.Count[node], 1, 64));
        Assert.Equal(Enumerable.Range(0, keys), tree.Coarse.SelectMany(node => Enumerable.Range(tree.Start[node], tree.Count[node])));
        for (int node = 0; node < tree.NodeCount; node++)
        {
            int left = tree.Left[node];
            if (left < 0)
            {
                Assert.InRange(tree.Count[node], 1, 5);
                continue;
            }

            Assert.Equal((tree.Start[left], tree.Start[left] + tree.Count[left]), (tree.Start[node], tree.Start[node - 1]));
            Assert.Equal(tree.Count[node], tree.Count[left] + tree.Count[node - 1]);
            Assert.Equal((tree.Depth[node] + 1, tree.Depth[node] + 1), (tree.Depth[left], tree.Depth[node - 1]));
        }
    }

    [Fact]
    public void Laid_over_each_other_the_maps_share_their_blocks()
    {
        ScaleSchedule maps = TokenFieldSampler.Schedule(64);
        KeyTree tree = KeyTree.Create(maps, maps.Tokens, leafSize: 4, across: true);
        foreach (int end in tree.BlockEnds)
        {
            IEnumerable<int> block = tree.Order.Skip(tree.Start[end - 1]).Take(tree.Count[end - 1]);
            Assert.InRange(block.Select(key => Enumerable.Range(0, maps.Count).Last(scale => maps.Start(scale) <= key)).Distinct().Count(), 6, maps.Count);
        }
    }
}
