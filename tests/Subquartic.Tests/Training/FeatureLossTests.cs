using Subquartic.Numerics.Kernels;
using Subquartic.Training;

namespace Subquartic.Tests.Training;

public sealed class FeatureLossTests : IDisposable
{
    private const int Values = 32 * 32 * 3;

    private readonly ClassifierNetwork[] _networks = [SmallModels.Judge(1), SmallModels.Judge(2)];

    public void Dispose() => Array.ForEach(_networks, network => network.Dispose());

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void A_perceptual_loss_has_the_slope_of_its_central_difference(int networks)
    {
        var loss = new PerceptualLoss(_networks[..networks], 0.7);
        float[] goal = Random(1);
        HasTheSlopeOfItsCentralDifference((tape, picture) => loss.Add(tape, Map(tape, goal, false), picture));
        using var tape = new Tape(KernelSet.Best);
        Assert.Equal(0, new PerceptualLoss(_networks, 0).Add(tape, Map(tape, goal, false), Map(tape, Random(2), true)));
        Assert.Equal(0, loss.Add(tape, Map(tape, goal, false), Map(tape, goal, true)));
    }

    /// <summary>With a window of one picture the mean of the drawn pictures is the picture itself, and the gradient is that of the loss.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Feature_matching_of_one_picture_has_the_slope_of_its_central_difference(int networks)
    {
        float[] goal = Random(1);
        HasTheSlopeOfItsCentralDifference((tape, picture) =>
        {
            using var matching = new FeatureMatching(_networks[..networks], 0.7, 3, window: 1);
            return matching.Add(tape, Map(tape, goal, false), [2], picture, [2]);
        });
    }

    /// <summary>The loss is that of the definition, computed here from the features of all pictures.</summary>
    [Fact]
    public void Feature_matching_compares_the_means_of_each_class()
    {
        const double weight = 0.7;
        float[] cat = Random(1), dog = Random(2), red = Random(3), blue = Random(4);
        using var matching = new FeatureMatching(_networks, weight, 2, window: 2);
        using var tape = new Tape(KernelSet.Best);
        Assert.Equal(0, Add([cat, dog], [0, 1], [red, blue], [0, 1])); // one picture of each is too few

        // Class 1 is shown twice: its second picture and one more, which weighs one half.
        double[] third = Mean(dog, red), drawn = [.. Mean(blue, cat).Zip(Features(dog), (m, f) => (m + f) / 2)];
        double expected = weight / 3 / 2 * (Distance(Mean(cat, cat), Mean(red, blue)) + 2 * Distance(third, drawn));
        double actual = Add([cat, red], [0, 1], [blue, cat, dog], [0, 1, 1]);
        Assert.InRange(actual, expected * (1 - 1e-4), expected * (1 + 1e-4));

        double Add(float[][] real, int[] realLabels, float[][] pictures, int[] labels) => matching.Add(tape, Map(tape, [.. real.SelectMany(p => p)], false), realLabels, Map(tape, [.. pictures.SelectMany(p => p)], true), labels);

        double[] Mean(float[] a, float[] b) => [.. Features(a).Zip(Features(b), (x, y) => (x + y) / 2)];

        double[] Features(float[] picture) =>
        [
            .. _networks.SelectMany(network => network.Forward(tape, Map(tape, picture, false)).Levels.SelectMany(level =>
                Enumerable.Range(0, level.Value.Columns).Select(c => Enumerable.Range(0, level.Value.Rows).Average(i => (double)level.Value.Row(i)[c])))),
        ];

        static double Distance(double[] a, double[] b) => a.Zip(b, (x, y) => (x - y) * (x - y)).Sum();
    }

    [Fact]
    public void Feature_matching_needs_a_network_a_weight_and_a_window()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => new FeatureMatching([], 1, 2));
        Assert.Throws<ArgumentOutOfRangeException>(() => new FeatureMatching(_networks, 0, 2));
        Assert.Throws<ArgumentOutOfRangeException>(() => new FeatureMatching(_networks, 1, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => new FeatureMatching(_networks, 1, 2, window: 0));
    }

    private static void HasTheSlopeOfItsCentralDifference(Func<Tape, Variable, double> loss)
    {
        float[] start = Random(2), direction = Random(3);
        double slope = Evaluate(0).Gradient.Zip(direction, (g, d) => (double)g * d).Sum();
        const float step = 2e-3f;
        double difference = (Evaluate(step).Loss - Evaluate(-step).Loss) / (2 * step);
        Assert.InRange(slope, difference - 0.02 * Math.Abs(difference), difference + 0.02 * Math.Abs(difference));

        (double Loss, float[] Gradient) Evaluate(float t)
        {
            using var tape = new Tape(KernelSet.Best);
            Variable picture = Map(tape, [.. start.Zip(direction, (s, d) => s + t * d)], true);
            double value = loss(tape, picture);
            tape.Backward();
            return (value, picture.Gradient.Span().ToArray());
        }
    }

    private static Variable Map(Tape tape, float[] values, bool needsGradient)
    {
        Variable map = tape.NewMap(values.Length / Values, 32, 32, 3, needsGradient);
        values.CopyTo(map.Value.Span());
        return map;
    }

    private static float[] Random(int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, Values).Select(_ => (float)(2 * random.NextDouble() - 1))];
    }
}
