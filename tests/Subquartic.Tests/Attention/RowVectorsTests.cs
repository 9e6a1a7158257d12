using System.Runtime.Intrinsics;
using Subquartic.Attention;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Tests.Attention;

public sealed class RowVectorsTests : IDisposable
{
    private const int Rows = 37, First = 5, Count = 29;

    private readonly FloatBuffer _buffer = new(Rows * 200);
    private readonly Random _random = new(1);

    [Theory]
    [InlineData(3, 3)]
    [InlineData(64, 64)]
    [InlineData(64, 71)]
    [InlineData(100, 130)]
    public void One_sweep_measures_what_plain_loops_do(int width, int stride)
    {
        Matrix x = Draw(width, stride);
        float poison = 0;
        float[] squares = new float[Count], sum = new float[width], least = new float[width], most = new float[width];
        float longest = RowVectors.Measure(x, First, squares, sum, ref poison);
        RowVectors.Extremes(x, First, Count, least, most, ref poison);
        Assert.Equal(0, poison);
        double[] lengths = [.. Enumerable.Range(0, Rows).Select(i => Enumerable.Range(0, width).Sum(c => (double)x.Row(i)[c] * x.Row(i)[c]))];
        Assert.Equal(lengths[First..(First + Count)].Max(), longest, 1e-5 * longest);
        Assert.Equal(lengths.Max(), RowVectors.LongestSquare(x), 1e-5 * lengths.Max());
        for (int c = 0; c < width; c++)
        {
            float[] column = [.. Enumerable.Range(First, Count).Select(i => x.Row(i)[c])];
            Assert.Equal(column.Sum(value => (double)value), sum[c], 1e-4);
            Assert.Equal((column.Min(), column.Max()), (least[c], most[c]));
        }

        Assert.Equal(Enumerable.Range(0, Rows).Max(i => x.Row(i).ToArray().Max(Math.Abs)), RowVectors.LargestMagnitude(x));
    }

    [Theory]
    [InlineData(64, 63, float.NaN)]
    [InlineData(64, 0, float.PositiveInfinity)]
    [InlineData(70, 69, float.NegativeInfinity)]
    public void What_is_not_finite_is_noticed(int width, int column, float value)
    {
        Matrix x = Draw(width, width);
        x.Row(First + Count - 1)[column] = value;
        float sums = 0, extremes = 0;
        float[] numbers = new float[width];
        RowVectors.Measure(x, First, new float[Count], numbers, ref sums);
        RowVectors.Extremes(x, First, Count, numbers, new float[width], ref extremes);
        Assert.True(float.IsNaN(sums) && float.IsNaN(extremes) && float.IsNaN(RowVectors.LargestMagnitude(x)));
    }

    [Theory]
    [InlineData(16)]
    [InlineData(64)]
    [InlineData(96)]
    public void Distances_are_those_of_plain_loops(int width)
    {
        Matrix x = Draw(width, width);
        float[] centre = [.. Enumerable.Range(0, width).Select(_ => _random.NextSingle())];
        double[] rows = [.. Enumerable.Range(0, Rows).Select(i => Enumerable.Range(0, width).Sum(c => Square(x.Row(i)[c] - centre[c])))];
        double[] columns = [.. Enumerable.Range(0, width).Select(c => Enumerable.Range(0, Rows).Sum(i => Square(x.Row(i)[c] - centre[c])))];
        float sum = RowVectors.Distances(x.Span(), centre, out float largest);
        Assert.Equal(rows.Sum(), sum, 1e-5 * sum);
        Assert.Equal(rows.Max(), largest, 1e-5 * largest);
        Assert.Equal(sum, RowVectors.ColumnDistances(x.Span(), centre, out Vector512<float> groups), 1e-5 * sum);
        for (int g = 0; g < RowVectors.Lanes; g++)
        {
            Assert.Equal(Enumerable.Range(0, width / RowVectors.Lanes).Max(i => columns[g + (i * RowVectors.Lanes)]), groups[g], 1e-5 * groups[g]);
        }
    }

    [Theory]
    [InlineData(16, 16)]
    [InlineData(32, 64)]
    [InlineData(64, 80)]
    [InlineData(96, 128)]
    public void Products_are_those_of_plain_loops(int width, int valueWidth)
    {
        using FloatBuffer values = new(Rows * 200), results = new(Rows * 130);
        Matrix x = Draw(width, width + 3), y = new(values, 0, Rows, valueWidth, 200), z = new(results, 0, Rows, valueWidth, 130);
        for (int i = 0; i < Rows; i++)
        {
            foreach (ref float value in y.Row(i))
            {
                value = _random.NextSingle() - 0.5f;
            }
        }

        float[] weights = [.. Enumerable.Range(0, Rows).Select(_ => _random.NextSingle())], sum = new float[width * valueWidth], rows = new float[valueWidth];
        float[] blocks = new float[width * RowVectors.Lanes], square = new float[width * width];
        RowVectors.AddProduct(x, y, sum);
        RowVectors.AddProduct(x, y, sum);
        RowVectors.AddProduct(x, x, square);
        RowVectors.AddDiagonalProducts(x, x, blocks);
        RowVectors.AddRows(y, weights, rows);
        RowVectors.AddRows(y, [], rows);
        float[] triangle = new float[RowVectors.TriangleLength(width)];
        RowVectors.AddSquare(x, triangle);
        Assert.Equal(Enumerable.Range(0, width).Sum(i => square[(i * width) + i]), RowVectors.Trace(width, triangle), 1e-3);
        Assert.Equal(RowVectors.Quadratic(x.Row(1), square), RowVectors.TriangleQuadratic(x.Row(1), triangle), 1e-3 * (1 + RowVectors.Quadratic(x.Row(1), square)));
        RowVectors.AddSquare(x, triangle);
        float[] bias = [.. rows];
        RowVectors.Multiply(x, sum, bias, z);
        for (int i = 0; i < width; i++)
        {
            for (int j = 0; j < valueWidth; j++)
            {
                Assert.Equal(2 * Enumerable.Range(0, Rows).Sum(t => (double)x.Row(t)[i] * y.Row(t)[j]), sum[(i * valueWidth) + j], 1e-4);
            }

            for (int j = 0; j < width; j++)
            {
                double expected = Enumerable.Range(0, Rows).Sum(t => (double)x.Row(t)[i] * x.Row(t)[j]);
                Assert.Equal(expected, square[(i * width) + j], 1e-4);
                int first = i / RowVectors.Lanes * RowVectors.Lanes;
                if (j >= first)
                {
                    int block = Enumerable.Range(0, first / RowVectors.Lanes).Sum(r => RowVectors.Lanes * (width - (r * RowVectors.Lanes)));
                    Assert.Equal(2 * expected, triangle[block + ((i - first) * (width - first)) + j - first], 2e-4);
                }

                if (i / RowVectors.Lanes == j / RowVectors.Lanes)
                {
                    Assert.Equal(expected, blocks[(i * RowVectors.Lanes) + (j % RowVectors.Lanes)], 1e-4);
                }
            }
        }

        for (int j = 0; j < valueWidth; j++)
        {
            Assert.Equal(Enumerable.Range(0, Rows).Sum(t => (weights[t] + 1.0) * y.Row(t)[j]), rows[j], 1e-4);
            for (int t = 0; t < Rows; t++)
            {
                Assert.Equal(bias[j] + Enumerable.Range(0, width).Sum(i => (double)x.Row(t)[i] * sum[(i * valueWidth) + j]), z.Row(t)[j], 2e-3);
            }
        }

        double[] symmetric = [.. square.Select(value => (double)value)], twice = new double[width * width];
        RowVectors.Square(symmetric, width, twice);
        Assert.Equal(Enumerable.Range(0, width).Sum(k => symmetric[k] * symmetric[(k * width) + 1]), twice[1], 1e-9 * twice[1 + width]);
        float[] products = new float[3];
        RowVectors.Products(square.AsSpan(0, 3 * width), square.AsSpan(0, width), products);
        Assert.Equal(Enumerable.Range(0, width).Sum(k => (double)square[k] * square[(2 * width) + k]), products[2], 1e-4 * products[0]);
    }

    [Fact]
    public void Phi_of_eight_numbers_is_that_of_each_and_never_below_the_function()
    {
        double[] b = [0, 1e-300, 1e-9, 0.3, 0.999999, 1, 1.7, 600];
        Vector512<double> together = ExpRemainder.Phi(Vector512.Create(b));
        for (int i = 0; i < b.Length; i++)
        {
            Assert.Equal(ExpRemainder.Phi(b[i]), together[i], 1e-14 * together[i]);
            Assert.True(together[i] >= (b[i] == 0 ? 1 : Math.Exp(b[i] / 2) * Math.Sinh(b[i] / 2) / (b[i] / 2)));
        }

        Assert.Equal(ExpRemainder.Phi(0.5), ExpRemainder.Phi(Vector512.Create(0.5))[3], 1e-14);
    }

    public void Dispose() => _buffer.Dispose();

    private static double Square(double x) => x * x;

    private Matrix Draw(int width, int stride)
    {
        foreach (ref float value in _buffer.Span())
        {
            value = (float)((2 * _random.NextDouble()) - 1);
        }

        return new Matrix(_buffer, 0, Rows, width, stride);
    }
}
