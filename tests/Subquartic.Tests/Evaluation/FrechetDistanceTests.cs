using Subquartic.Evaluation;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Tests.Evaluation;

public sealed class FrechetDistanceTests : IDisposable
{
    private readonly List<FloatBuffer> _buffers = [];

    public void Dispose() => _buffers.ForEach(buffer => buffer.Dispose());

    [Fact]
    public void Equal_sets_have_distance_0()
    {
        Matrix a = Normal(500, 6, seed: 1);
        Assert.InRange(FrechetDistance.Between(a, a), 0, 1e-6);
    }

    [Fact]
    public void A_shift_costs_its_squared_length()
    {
        Matrix a = Normal(500, 6, seed: 1);
        Matrix b = Map(a, (c, x) => x + c);
        Assert.Equal(0 + 1 + 4 + 9 + 16 + 25, FrechetDistance.Between(a, b), 3);
    }

    /// <summary>Independent coordinates: the sum of (s1 - s2)^2.</summary>
    [Fact]
    public void A_stretch_costs_the_squared_difference_of_deviations()
    {
        Matrix a = Normal(4000, 2, seed: 2);
        Matrix b = Map(a, (c, x) => x * (c == 0 ? 3 : 1));
        double deviation = Math.Sqrt(Variance(a, 0));
        Assert.Equal(4 * deviation * deviation, FrechetDistance.Between(a, b), 1);
    }

    /// <summary>Rotating both sets changes nothing, which fails where covariances are treated as diagonal.</summary>
    [Fact]
    public void A_common_rotation_changes_nothing()
    {
        Matrix a = Map(Normal(800, 2, seed: 3), (c, x) => x * (c + 1));
        Matrix b = Map(Normal(800, 2, seed: 4), (c, x) => x * (3 - c) + 1);
        Assert.Equal(FrechetDistance.Between(a, b), FrechetDistance.Between(Rotate(a), Rotate(b)), 3);
    }

    [Fact]
    public void Sets_that_cannot_be_compared_are_refused()
    {
        Assert.Throws<ArgumentException>(() => FrechetDistance.Between(Normal(5, 2, 1), Normal(5, 3, 1)));
        Assert.Throws<ArgumentException>(() => FrechetDistance.Between(Normal(1, 2, 1), Normal(5, 2, 1)));
    }

    private static double Variance(Matrix x, int column)
    {
        double mean = Enumerable.Range(0, x.Rows).Average(i => x.Row(i)[column]);
        return Enumerable.Range(0, x.Rows).Sum(i => Math.Pow(x.Row(i)[column] - mean, 2)) / (x.Rows - 1);
    }

    private Matrix Normal(int rows, int columns, int seed)
    {
        var random = new Random(seed);
        return Map(Empty(rows, columns), (_, _) => (float)Enumerable.Range(0, 12).Sum(_ => random.NextDouble()) - 6);
    }

    private Matrix Rotate(Matrix x)
    {
        Matrix y = Empty(x.Rows, x.Columns);
        for (int i = 0; i < x.Rows; i++)
        {
            y.Row(i)[0] = 0.6f * x.Row(i)[0] - 0.8f * x.Row(i)[1];
            y.Row(i)[1] = 0.8f * x.Row(i)[0] + 0.6f * x.Row(i)[1];
        }

        return y;
    }

    private Matrix Map(Matrix x, Func<int, float, float> map)
    {
        Matrix y = Empty(x.Rows, x.Columns);
        for (int i = 0; i < x.Rows; i++)
        {
            for (int c = 0; c < x.Columns; c++)
            {
                y.Row(i)[c] = map(c, x.Row(i)[c]);
            }
        }

        return y;
    }

    private Matrix Empty(int rows, int columns)
    {
        _buffers.Add(new FloatBuffer(rows * columns));
        return _buffers[^1].Matrix(rows, columns);
    }
}
