namespace Subquartic.Training.Data.Icons;

internal static partial class IconPainter
{
    private static Oklch Rocket(in IconCanvas canvas, ref IconRandom random)
    {
        Frame at = Place(ref random, turns: 0.12f, low: 0.68f, high: 0.84f);
        var hull = new Oklch(random.Range(0.86f, 0.96f), random.Range(0.01f, 0.05f), random.Pick(0.2f, 0.6f, 0.7f));
        var trim = new Oklch(random.Range(0.55f, 0.66f), 0.18f, random.Pick(0.07f, 0.07f, 0.14f, 0.7f, 0.45f, 0.9f));
        float half = random.Range(0.3f, 0.38f), window = random.Range(0.13f, 0.17f), flame = random.Range(0.95f, 1.12f);
        canvas.Add(at, new Leaf(0, -0.4f, 0, -flame, 0.2f));
        canvas.Fill(Paint.Of(new Oklch(0.74f, 0.18f, random.Range(0.12f, 0.17f)), 0.8f));
        canvas.Add(at, new Leaf(0, -0.4f, 0, -0.82f, 0.11f));
        canvas.FillInside(Paint.Of(new Oklch(0.92f, 0.13f, 0.27f), 0.5f, 0));
        canvas.Add(at, new Mirrored<Leaf>(new Leaf(half * 0.5f, 0.05f, half + random.Range(0.22f, 0.34f), -0.74f, random.Range(0.13f, 0.18f))));
        canvas.Fill(Paint.Of(trim with { Lightness = trim.Lightness - 0.04f }));
        canvas.Add(at, new Ellipse(0, 0.06f, half, 0.92f));
        canvas.Clip(at, new HalfPlane(0, -1, 0.58f));
        canvas.Fill(Paint.Of(hull, 1.2f, 0.2f));
        canvas.Add(at, new Box(0, 0.84f, 0.5f, 0.26f));
        canvas.FillInside(Paint.Of(trim, 1, 0.12f));
        if (random.Chance(0.5f))
        {
            canvas.Add(at, new Box(0, -0.44f, 0.5f, 0.06f));
            canvas.FillInside(Paint.Of(trim, 0.8f, 0));
        }

        int windows = random.Integer(1, 2);
        for (int i = 0; i < windows; i++)
        {
            canvas.Add(at, new Circle(0, 0.24f - (0.4f * i), window + 0.05f));
        }

        canvas.FillInside(Paint.Of(trim with { Lightness = 0.45f, Chroma = 0.06f }, 0.6f, 0));
        for (int i = 0; i < windows; i++)
        {
            canvas.Add(at, new Circle(0, 0.24f - (0.4f * i), window));
        }

        canvas.FillInside(Paint.Of(new Oklch(0.78f, 0.1f, random.Pick(0.62f, 0.66f, 0.26f)), 0.8f, 0.1f));
        return trim;
    }
}
