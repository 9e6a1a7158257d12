using MathNet.Numerics.LinearAlgebra;
using MathNet.Numerics.LinearAlgebra.Factorization;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Training;

namespace Subquartic.Tests.Training;

public sealed class MuonTests
{
    [Theory]
    [InlineData(7, 7, 1)]
    [InlineData(5, 13, 1)]
    [InlineData(33, 12, 1)]
    [InlineData(9, 20, 3)]
    [InlineData(20, 9, 3)]
    public void A_step_has_the_singular_vectors_of_the_gradient_and_singular_values_near_one(int rows, int columns, int matrices)
    {
        foreach (string name in KernelSet.Available)
        {
            using Parameter parameter = Random(rows * matrices, columns, matrices);
            double[] start = [.. parameter.Value.Span().ToArray().Select(x => (double)x)], gradient = [.. parameter.Gradient.Span().ToArray().Select(x => (double)x)];
            var kernels = KernelSet.Create(name, 2);
            using var optimizer = new AdamW([parameter], new AdamWOptions { ClipNorm = 0, WeightDecay = 0.5 }, kernels.Pool, new Muon([parameter], new MuonOptions(), kernels));
            const double rate = 0.1;
            optimizer.Step(rate);
            float[] end = parameter.Value.Span().ToArray();
            for (int m = 0; m < matrices; m++)
            {
                // The first momentum is a multiple of the gradient; weight decay takes 0.1 * 0.5 of the value.
                int first = m * rows * columns;
                Matrix<double> step = Matrix<double>.Build.Dense(
                    rows, columns, (i, j) => (0.95 * start[first + i * columns + j] - end[first + i * columns + j]) / (rate * 0.2 * Math.Sqrt(Math.Max(rows, columns))));
                Svd<double> svd = Matrix<double>.Build.Dense(rows, columns, (i, j) => gradient[first + i * columns + j]).Svd();
                Matrix<double> turned = svd.U.TransposeThisAndMultiply(step) * svd.VT.Transpose();
                for (int i = 0; i < rows; i++)
                {
                    for (int j = 0; j < columns; j++)
                    {
                        Assert.InRange(turned[i, j], i == j ? 0.65 : -1e-4, i == j ? 1.2 : 1e-4);
                    }
                }
            }
        }
    }

    [Fact]
    public void Only_hidden_matrices_are_taken_and_zeros_stay_zeros()
    {
        using Parameter hidden = Random(6, 4, 1), other = Random(6, 4, 0), twin = Random(6, 4, 0), frozen = Random(6, 4, 1);
        frozen.Trainable = false;
        hidden.Gradient.Span().Clear();
        float[] before = hidden.Value.Span().ToArray(), kept = frozen.Value.Span().ToArray();
        using (var muon = new AdamW([hidden, other, frozen], new AdamWOptions { ClipNorm = 0, WeightDecay = 0 }, KernelSet.Best.Pool, new Muon([hidden, other, frozen], new MuonOptions(), KernelSet.Best)))
        using (var adam = new AdamW([twin], new AdamWOptions { ClipNorm = 0, WeightDecay = 0 }, KernelSet.Best.Pool))
        {
            muon.Step(0.1);
            adam.Step(0.1);
            Assert.Equal(0, muon.Square(0).Span().ToArray().Max());
        }

        Assert.Equal(before, hidden.Value.Span().ToArray());
        Assert.Equal(kept, frozen.Value.Span().ToArray());
        Assert.Equal(twin.Value.Span().ToArray(), other.Value.Span().ToArray());
    }

    [Fact]
    public void Rows_that_are_not_whole_matrices_are_refused_by_name()
    {
        using Parameter parameter = Random(7, 4, 3);
        var error = Assert.Throws<ArgumentException>(() => new Muon([parameter], new MuonOptions(), KernelSet.Best));
        Assert.Contains("odd", error.Message, StringComparison.Ordinal);
    }

    private static Parameter Random(int rows, int columns, int matrices)
    {
        var parameter = new Parameter("odd", rows, columns) { HiddenMatrices = matrices };
        var random = new Random(7);
        foreach (FloatBuffer buffer in new[] { parameter.Value, parameter.Gradient })
        {
            foreach (ref float value in buffer.Span())
            {
                value = (float)(2 * random.NextDouble() - 1);
            }
        }

        return parameter;
    }
}
