using Subquartic.Attention.HigherOrder;
using Subquartic.Criteria;

namespace Subquartic.Tests.Criteria;

public class TensorFamilyTests
{
    [Theory]
    [InlineData(3, 11)]
    [InlineData(4, 5)]
    [InlineData(5, 2)]
    [InlineData(7, 9)]
    [InlineData(12, 8)]
    [InlineData(25, 11)]
    [InlineData(101, 10)]
    public void Match_3_is_decided_with_a_margin(int modulus, int tokens)
    {
        for (int seed = 0; seed < 10; seed++)
        {
            var instance = new Match3Family(tokens, modulus, seed);
            double[,] output = ReferenceTensorAttention.Attend(instance.Problem());
            bool[] answers = instance.Answers();
            for (int i = 0; i < tokens; i++)
            {
                Assert.InRange(output[i, 0], answers[i] ? 2.0 / 3 : 0, answers[i] ? 1 : 0.2);
            }

            Assert.Equal(1, instance.Accuracy(output));
        }
    }

    [Theory]
    [InlineData(3)]
    [InlineData(8)]
    [InlineData(23)]
    public void Composition_is_read_off_the_output(int size)
    {
        var instance = new CompositionFamily(size, size);
        double[,] output = ReferenceTensorAttention.Attend(instance.Problem());
        for (int x = 0; x < size; x++)
        {
            Assert.Equal(instance.Outer[instance.Inner[x]], output[x, 0], 1e-3 * size);
        }

        Assert.Equal(1, instance.Accuracy(output));
    }

    [Theory]
    [InlineData(3, 4)]
    [InlineData(4, 3)]
    public void Ranks_of_the_hypercube_family_are_those_of_the_closed_form(int order, int bits)
    {
        foreach (double c in new[] { 0.3, 0.5, 0.7, 0.9, 1.1 })
        {
            double[] spectrum = HypercubeFamily.MeasuredSpectrum(bits, c, order);
            foreach (double epsilon in new[] { 0.3, 0.1, 1e-2, 1e-3 })
            {
                Assert.Equal(HypercubeFamily.Rank(bits, c, epsilon, order), spectrum.Count(value => value >= epsilon));
            }
        }
    }

    [Fact]
    public void The_entries_that_few_features_serve_fall_with_the_order_towards_1()
    {
        EntryThreshold[] thresholds = [.. new[] { 2, 3, 4 }.Select(order => EntryThreshold.Create(order, 4096, 4, 1e-3))];
        Assert.True(thresholds[0].Entry > thresholds[1].Entry && thresholds[1].Entry > thresholds[2].Entry && thresholds[2].Entry > 1);
        Assert.All(thresholds, t => Assert.InRange(t.HalfRange, thresholds[0].HalfRange * 0.9, thresholds[0].HalfRange * 1.1));
        Assert.All(thresholds, t => Assert.True(t.Features <= t.Tokens && MonomialBasis.CountOf(4, t.Degree + 1) > t.Tokens));
        Assert.Throws<ArgumentException>(() => EntryThreshold.Create(3, 2, 50, 1e-9));
    }
}
