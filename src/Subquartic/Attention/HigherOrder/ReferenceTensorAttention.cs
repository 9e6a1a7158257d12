using Subquartic.Criteria;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention.HigherOrder;

/// <summary>The judge of tensor attention and of its gradients: plain loops over all tuples of keys in double precision, slow and
/// single-threaded, without ever holding the weights.</summary>
public static class ReferenceTensorAttention
{
    /// <summary>o_i = sum over tuples of P (v1 v2 …).</summary>
    /// <param name="x">The operands, the scale multiplied into the queries.</param>
    /// <returns>O (L, d_v).</returns>
    public static double[,] Attend(TensorProblem x)
    {
        ArgumentNullException.ThrowIfNull(x);
        int width = x.Values[0].GetLength(1);
        var output = new double[x.Queries.GetLength(0), width];
        int[] tuple = new int[x.Keys.Count];
        for (int i = 0; i < output.GetLength(0); i++)
        {
            (double max, double sum) = Normalizer(x, i);
            Array.Clear(tuple);
            do
            {
                double weight = Math.Exp(Score(x, i, tuple) - max) / sum;
                for (int c = 0; c < width; c++)
                {
                    output[i, c] += weight * Product(x.Values, tuple, c, -1);
                }
            }
            while (Next(tuple, x.Keys));
        }

        return output;
    }

    /// <summary>The gradient of sum(dOutput * O). With r_i = do_i.o_i and dS = P (do_i.(v1 v2 …) - r_i): dq = sum dS k1 k2 …,
    /// dk_s = sum dS q (product of the other keys), dv_s = sum P do (product of the other values).</summary>
    /// <param name="x">The operands, the scale multiplied into the queries.</param>
    /// <param name="dOutput">(L, d_v).</param>
    /// <returns>The gradients, in the shapes of the operands.</returns>
    public static TensorProblem Gradient(TensorProblem x, double[,] dOutput)
    {
        ArgumentNullException.ThrowIfNull(x);
        ArgumentNullException.ThrowIfNull(dOutput);
        double[,] output = Attend(x);
        var dQueries = new double[x.Queries.GetLength(0), x.Queries.GetLength(1)];
        double[][,] dKeys = [.. x.Keys.Select(k => new double[k.GetLength(0), k.GetLength(1)])];
        double[][,] dValues = [.. x.Values.Select(v => new double[v.GetLength(0), v.GetLength(1)])];
        int[] tuple = new int[x.Keys.Count];
        for (int i = 0; i < output.GetLength(0); i++)
        {
            (double max, double sum) = Normalizer(x, i);
            double inner = 0;
            for (int c = 0; c < output.GetLength(1); c++)
            {
                inner += dOutput[i, c] * output[i, c];
            }

            Array.Clear(tuple);
            do
            {
                double weight = Math.Exp(Score(x, i, tuple) - max) / sum;
                double dScore = -inner;
                for (int c = 0; c < output.GetLength(1); c++)
                {
                    dScore += dOutput[i, c] * Product(x.Values, tuple, c, -1);
                    for (int s = 0; s < tuple.Length; s++)
                    {
                        dValues[s][tuple[s], c] += weight * dOutput[i, c] * Product(x.Values, tuple, c, s);
                    }
                }

                dScore *= weight;
                for (int l = 0; l < dQueries.GetLength(1); l++)
                {
                    dQueries[i, l] += dScore * Product(x.Keys, tuple, l, -1);
                    for (int s = 0; s < tuple.Length; s++)
                    {
                        dKeys[s][tuple[s], l] += dScore * x.Queries[i, l] * Product(x.Keys, tuple, l, s);
                    }
                }
            }
            while (Next(tuple, x.Keys));
        }

        return new TensorProblem(dQueries, dKeys, dValues);
    }

    /// <summary>The operands of a call in double precision, the scale multiplied into the queries.</summary>
    /// <param name="input">The call.</param>
    /// <returns>Copies.</returns>
    public static TensorProblem Widen(in TensorInput input)
    {
        double[,] queries = Widen(input.Queries);
        for (int i = 0; i < queries.GetLength(0); i++)
        {
            for (int l = 0; l < queries.GetLength(1); l++)
            {
                queries[i, l] *= input.Scale;
            }
        }

        return new TensorProblem(queries, [.. input.Keys.Select(Widen)], [.. input.Values.Select(Widen)]);
    }

    /// <summary>A matrix in double precision.</summary>
    /// <param name="matrix">The matrix.</param>
    /// <returns>A copy.</returns>
    public static double[,] Widen(Matrix matrix)
    {
        var wide = new double[matrix.Rows, matrix.Columns];
        for (int i = 0; i < matrix.Rows; i++)
        {
            for (int j = 0; j < matrix.Columns; j++)
            {
                wide[i, j] = matrix.Row(i)[j];
            }
        }

        return wide;
    }

    private static double Score(TensorProblem x, int query, int[] tuple)
    {
        double score = 0;
        for (int l = 0; l < x.Queries.GetLength(1); l++)
        {
            score += x.Queries[query, l] * Product(x.Keys, tuple, l, -1);
        }

        return score;
    }

    private static (double Max, double Sum) Normalizer(TensorProblem x, int query)
    {
        int[] tuple = new int[x.Keys.Count];
        double max = double.NegativeInfinity, sum = 0;
        do
        {
            max = Math.Max(max, Score(x, query, tuple));
        }
        while (Next(tuple, x.Keys));

        Array.Clear(tuple);
        do
        {
            sum += Math.Exp(Score(x, query, tuple) - max);
        }
        while (Next(tuple, x.Keys));

        return (max, sum);
    }

    /// <summary>Product of one column over a tuple, one set left out.</summary>
    private static double Product(IReadOnlyList<double[,]> sets, int[] tuple, int column, int without)
    {
        double product = 1;
        for (int s = 0; s < tuple.Length; s++)
        {
            product *= s == without ? 1 : sets[s][tuple[s], column];
        }

        return product;
    }

    /// <summary>Advances a tuple, the last index fastest; false when it was the last one.</summary>
    private static bool Next(int[] tuple, IReadOnlyList<double[,]> sets)
    {
        for (int s = tuple.Length - 1; s >= 0; s--)
        {
            if (++tuple[s] < sets[s].GetLength(0))
            {
                return true;
            }

            tuple[s] = 0;
        }

        return false;
    }
}
